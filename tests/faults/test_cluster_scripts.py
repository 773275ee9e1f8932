"""The scripts in ``cluster/`` start Ray on two machines, both of which are this one."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import PROJECT
from tests.faults.conftest import (
    LOCAL,
    PLUGIN,
    SMALL,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)

CLUSTER = PROJECT / "cluster"
# The test is about sharing a sweep between machines, so the sweep is small.
QUICK = SMALL | {"models": {"linear": {}, "vae": {"hidden": [8], "latent": 2, "epochs": 1}}}
# The part of SLURM that the script uses: sbatch runs a copy of the script, with variables for the
# allocation, and srun runs a command on a machine until one of them is ended.
PROGRAMS = {
    "sbatch": """
        while [[ $1 == --* ]]; do shift; done
        cp "$1" "$BENCH_TEST/slurm_script"
        export SLURM_JOB_ID=$PPID SLURM_JOB_NODELIST='here[1-2]' SLURM_CPUS_PER_TASK=1
        exec bash "$BENCH_TEST/slurm_script" "${@:2}"
    """,
    "scontrol": """
        [[ $* == 'show hostnames here[1-2]' ]]
        printf 'localhost\\nlocalhost\\n'
    """,
    "srun": """
        echo "$*" >> "$BENCH_TEST/steps"
        while [[ $1 == --* ]]; do shift; done
        exec "$@"
    """,
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a protocol that runs in seconds."""
    path = tmp_path_factory.mktemp("protocol") / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def on_one_machine(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of it in one process."""
    results = tmp_path_factory.mktemp("one")
    with Sweeps(quick) as sweeps:
        ended = sweeps.run(results, *LOCAL)
    assert ended.code == 0, ended.err
    return latest(results)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables with the programs of SLURM first in the path; kills what was started with them."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in PROGRAMS.items():
        path = programs / name
        path.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{script}")
        path.chmod(0o755)
    paths = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    mark = {"BENCH_TEST": str(tmp_path)}
    yield {
        **os.environ,
        **mark,
        "PATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
    }
    for process in started(mark):
        process.kill()


def started(mark: dict[str, str]) -> list[psutil.Process]:
    """Return the processes that have a variable in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark.items() <= process.environ().items():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.ray
def test_slurm(
    quick: Path, on_one_machine: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    given = [str(quick), "--plugin", str(PLUGIN), "--results", str(results)]
    ended = subprocess.run(
        ["sbatch", "--nodes=2", str(CLUSTER / "slurm.sh"), *given],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Ray: 2 CPUs, 0 GPUs, 2 machines" in ended.stdout
    assert_same_tables(latest(results), on_one_machine)
    assert_nothing_half_written(results)
    assert not started({"BENCH_TEST": str(tmp_path)})


def free_port() -> str:
    with socket.socket() as opened:
        opened.bind(("", 0))
        return str(opened.getsockname()[1])


@pytest.fixture
def home(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A home folder set up as by the commands of the YAML that need no network."""
    place = tmp_path / "home"
    (place / "bench-env" / "bin").mkdir(parents=True)
    environment["HOME"] = str(place)
    activate = f"export PATH={Path(sys.executable).parent}:$PATH RAY_AUTH_MODE=token\n"
    (place / "bench-env" / "bin" / "activate").write_text(activate)
    shell("ray get-auth-token --generate", environment)
    return environment


def shell(command: str, environment: dict[str, str]) -> str:
    """Run a command as ``ray up`` does; daemons that it starts outlive it."""
    with tempfile.TemporaryFile("w+") as output:
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=PROJECT, env=environment, stdout=output, stderr=output, timeout=200,
        )  # fmt: skip
        output.seek(0)
        out = output.read()
    assert ended.returncode == 0, out
    return out


@pytest.mark.ray
def test_ray_up(quick: Path, on_one_machine: Path, home: dict[str, str], tmp_path: Path) -> None:
    config = yaml.safe_load((CLUSTER / "ray.yaml").read_text())
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])
    # The head would reach the workers by ssh; here they are started by hand below.
    alone = config | {"provider": {"type": "local", "head_ip": "localhost", "worker_ips": []}}
    bootstrap = Path(home["HOME"]) / "ray_bootstrap_config.yaml"
    bootstrap.write_text(yaml.safe_dump(prepare_config(alone)))
    port = free_port()
    for part in ("head", "worker"):
        stop, start = config[f"{part}_start_ray_commands"]
        # It would end any other Ray on this machine.
        assert stop.endswith("&& ray stop")
        shell(start.replace("6379", port), {**home, "RAY_HEAD_IP": "localhost"})
    results = tmp_path / "results"
    given = f"{quick} --plugin {PLUGIN} --results {results} --address localhost:{port}"
    out = shell(f". ~/bench-env/bin/activate && python -m bench run {given}", home)
    assert f"Ray: {2 * (os.cpu_count() or 1)} CPUs, 0 GPUs, 2 machines" in out
    assert_same_tables(latest(results), on_one_machine)
