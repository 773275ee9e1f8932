"""The Ray that a sweep runs on: one of this machine's own, or a cluster of machines.

Before any job runs, each machine of a cluster is asked what it would run: with other code or other
packages than the driver's it would compute other values under the same keys.
"""

import logging
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.core.code_versions import ROOT
from bench.core.errors import InputError
from bench.protocol.schema import Resources, Share
from bench.sweep.machines import differs, facts

ANSWER_SECONDS = 120
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""What Ray is told in variables of the environment where the user tells it nothing else."""


@contextmanager
def joined(
    address: str | None,
    resources: Resources,
    store: Path,
    plugins: Sequence[Path],
    console: Console,
) -> Iterator[None]:
    """Start a local Ray, or join the cluster at ``address``; leave it when the block ends.

    Raises:
        InputError: there is no such Ray; none of its machines can ever hold a trial; or one of
            them has other code or packages than this process, or does not see the store.
    """
    with _started(address, console):
        _check_share(resources.fit, "fit")
        _check_share(resources.evaluate, "evaluate")
        if address:
            _check_machines(store, plugins)
        yield


@contextmanager
def _started(address: str | None, console: Console) -> Iterator[None]:
    # Ray has its workers look for modules where it was started, before all else: not among a
    # stranger's files.
    with tempfile.TemporaryDirectory() as empty:
        with chdir(empty):
            _start(address, console)
        try:
            yield
        finally:
            import ray

            ray.shutdown()


def _start(address: str | None, console: Console) -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"ray cannot be imported ({error}); install it or run with --executor local"
        ) from None
    project = str(ROOT)
    try:
        if address:
            # What a machine of a cluster says itself of where the project lies comes first there.
            paths = os.pathsep.join(("${PYTHONPATH}", project))
            variables = {"PYTHONPATH": paths, "RAY_CHDIR_TO_TRIAL_DIR": "0"}
            environment = {"env_vars": variables}
            ray.init(address=address, logging_level=logging.ERROR, runtime_env=environment)
        else:
            # Told by a runtime environment, those that Ray starts at once could not be workers.
            with _path(project):
                ray.init(
                    address="local",
                    num_cpus=available_cpus(),
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or "this machine"
        hint = "; if that cluster asks for a token, set RAY_AUTH_MODE=token" if address else ""
        raise InputError(f"no Ray at {where}: {' '.join(str(error).split())}{hint}") from None
    have = ray.cluster_resources()
    machines = f", {len(_machines())} machines" if address else ""
    console.print(f"Ray: {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs{machines}")


@contextmanager
def _path(first: str) -> Iterator[None]:
    """Let processes that are started in the block look for modules in a folder first."""
    own = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (first, own)))
    try:
        yield
    finally:
        if own is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = own


def check_address(address: str) -> None:
    """Raise InputError for what is no address, and where nothing answers: Ray takes minutes to."""
    if address == "auto":
        return
    found = re.fullmatch(r"(?:ray://)?([^\s/:]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", address)
    if not found or int(found[2]) >= 2**16:
        raise InputError(f"--address {address}: give auto or HOST:PORT, as 10.0.0.1:6379")
    host, port = found[1].strip("[]"), found[2]
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(
            f"no Ray at {address} ({error}); start one there with: ray start --head --port={port}"
        ) from None


def _machines() -> list[dict[str, Any]]:
    """Return what Ray says of its machines that can run something."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0)]


def _check_share(share: Share, what: str) -> None:
    """Raise InputError if no machine of the running Ray could ever hold one trial."""
    if not any(
        machine["Resources"]["CPU"] >= share.cpus
        and machine["Resources"].get("GPU", 0) >= share.gpus
        for machine in _machines()
    ):
        raise InputError(
            f"resources.{what}: no machine of this Ray has {share.cpus:g} CPUs and "
            f"{share.gpus:g} GPUs free for one trial; ask for less"
        )


def _check_machines(store: Path, plugins: Sequence[Path]) -> None:
    """Raise InputError if a machine of the cluster would not compute what this process does."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    note = store.resolve() / f".seen-{secrets.token_hex(4)}"
    asked = ([str(path.resolve()) for path in plugins], str(note))
    note.parent.mkdir(parents=True, exist_ok=True)
    try:
        note.write_text(secrets.token_hex(8))
        ask = ray.remote(num_cpus=0, max_retries=0)(facts)
        answers = {}
        for machine in _machines():
            place = NodeAffinitySchedulingStrategy(machine["NodeID"], soft=False)
            name = f"{machine['NodeManagerHostname']} ({machine['NodeManagerAddress']})"
            answers[name, machine["NodeID"]] = ask.options(scheduling_strategy=place).remote(*asked)
        here = facts(*asked)
        for (name, identity), answer in answers.items():
            try:
                there = ray.get(answer, timeout=ANSWER_SECONDS)
            except Exception as error:
                if identity not in {machine["NodeID"] for machine in _machines()}:
                    continue  # it was lost meanwhile, and runs nothing
                reason = str(error).strip().splitlines()[-1]
                raise InputError(
                    f"machine {name} cannot run this project ({reason}); install it there as here"
                ) from None
            if problem := differs(here, there):
                raise InputError(f"machine {name} {problem}")
    finally:
        note.unlink(missing_ok=True)


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
