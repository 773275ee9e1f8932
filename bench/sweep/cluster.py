"""Starts a local Ray, or connects to a Ray cluster.

Before any job runs, the code and packages of each machine of a cluster are compared with those of
the driver: others could compute other values under the same cache keys.
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
from bench.core.processes import available_cpus
from bench.protocol.schema import Resources, Share
from bench.sweep.machines import difference, facts

ANSWER_SECONDS = 120
"""Timeout for the facts of a machine."""
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
"""Environment variables for Ray, unless the user has set them."""


@contextmanager
def joined(
    address: str | None,
    resources: Resources,
    store: Path,
    plugins: Sequence[Path],
    console: Console,
) -> Iterator[None]:
    """Start a local Ray, or join the cluster at ``address``; disconnect when the block ends.

    Args:
        address: of the cluster, as ``ray.init`` takes it; None to start a local Ray.
        resources: of the trials that it must be able to run.
        store: folder of the store, which all machines must share.
        plugins: plugin files, which all machines must have.
        console: where to print the number of CPUs, GPUs and machines.

    Raises:
        InputError: Ray cannot be started or reached; no machine has the resources of a trial; or
            one has other code, packages or plugins than this process, or does not see the store.
    """
    with _started(address, console):
        _check_share(resources.fit, "fit")
        _check_share(resources.evaluate, "evaluate")
        if address:
            _check_machines(store, plugins)
        yield


@contextmanager
def _started(address: str | None, console: Console) -> Iterator[None]:
    # Ray's workers import from the folder that it was started in first, so start it in an empty
    # folder and not among a user's files.
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
            # A machine's own PYTHONPATH has priority over the path of the project on this one.
            paths = os.pathsep.join(("${PYTHONPATH}", project))
            variables = {"PYTHONPATH": paths, "RAY_CHDIR_TO_TRIAL_DIR": "0"}
            environment = {"env_vars": variables}
            ray.init(
                address=address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env=environment,
            )
        else:
            # With a runtime environment, the workers that Ray starts in advance could not be used.
            with _path(project):
                ray.init(
                    address="local",
                    num_cpus=available_cpus(),
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or "this machine"
        hint = "; if that cluster requires a token, set RAY_AUTH_MODE=token" if address else ""
        raise InputError(f"no Ray at {where}: {' '.join(str(error).split())}{hint}") from None
    total = ray.cluster_resources()
    machines = f", {len(_machines())} machines" if address else ""
    console.print(f"Ray: {total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs{machines}")


@contextmanager
def _path(first: str) -> Iterator[None]:
    """Prepend a folder to ``PYTHONPATH`` for processes that are started in the block."""
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
    """Raise InputError if an address is invalid or nothing listens there.

    Ray itself takes minutes to report that.
    """
    if address == "auto":
        return
    found = re.fullmatch(r"(?:ray://)?([^\s/:]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", address)
    if not found or int(found[2]) >= 2**16:
        raise InputError(f"--address {address}: give auto or HOST:PORT, such as 10.0.0.1:6379")
    host, port = found[1].strip("[]"), found[2]
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(
            f"no Ray at {address} ({error}); start one there with: ray start --head --port={port}"
        ) from None


def _machines() -> list[dict[str, Any]]:
    """Return Ray's descriptions of its machines that are alive and have CPUs."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0)]


def _check_share(share: Share, what: str) -> None:
    """Raise InputError if no machine of the running Ray has the resources of one trial."""
    if not any(
        machine["Resources"]["CPU"] >= share.cpus
        and machine["Resources"].get("GPU", 0) >= share.gpus
        for machine in _machines()
    ):
        raise InputError(
            f"resources.{what}: no machine of this Ray has {share.cpus:g} CPUs and "
            f"{share.gpus:g} GPUs for one trial; lower the request"
        )


def _check_machines(store: Path, plugins: Sequence[Path]) -> None:
    """Raise InputError if a machine of the cluster could compute other values than this process."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    note = store.resolve() / f".seen-{secrets.token_hex(4)}"
    arguments = ([str(path.resolve()) for path in plugins], str(note))
    note.parent.mkdir(parents=True, exist_ok=True)
    try:
        note.write_text(secrets.token_hex(8))
        remote_facts = ray.remote(num_cpus=0, max_retries=0)(facts)
        answers = {}
        for machine in _machines():
            place = NodeAffinitySchedulingStrategy(machine["NodeID"], soft=False)
            name = f"{machine['NodeManagerHostname']} ({machine['NodeManagerAddress']})"
            on_machine = remote_facts.options(scheduling_strategy=place)
            answers[name, machine["NodeID"]] = on_machine.remote(*arguments)
        here = facts(*arguments)
        for (name, identity), answer in answers.items():
            try:
                there = ray.get(answer, timeout=ANSWER_SECONDS)
            except Exception as error:
                if identity not in {machine["NodeID"] for machine in _machines()}:
                    continue  # the machine was lost meanwhile, so no job runs on it
                reason = str(error).strip().splitlines()[-1]
                raise InputError(
                    f"machine {name} cannot run this project ({reason}); install it there as here"
                ) from None
            if problem := difference(here, there):
                raise InputError(f"machine {name} {problem}")
    finally:
        note.unlink(missing_ok=True)
