"""Which differences exclude a machine from a cluster; tests/faults checks real machines."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.provenance import PACKAGES
from bench.sweep.machines import Facts, difference, facts

HERE = Facts(
    {"python": "3.12.1", "torch": "2.12.0"}, {"bench/sweep/cells.py": "a"}, {"/p.py": "b"}, "c"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packages": {"python": "3.12.1", "torch": "2.11.0"}}, "torch 2.11.0, here 2.12.0;"),
        ({"packages": {"python": "3.12.1", "torch": None}}, "torch none, here 2.12.0;"),
        ({"code": {"bench/sweep/cells.py": "z"}}, "has other code: bench/sweep/cells.py;"),
        ({"code": {}}, "has other code: bench/sweep/cells.py;"),
        ({"code": {**HERE.code, "models/more.py": "a"}}, "has other code: models/more.py;"),
        ({"plugins": {"/p.py": ""}}, "has other plugins: /p.py;"),
        ({"note": ""}, "does not see the results folder;"),
        ({"code": {f"models/{name}.py": "" for name in "abcdef"}}, "models/b.py and 4 more;"),
    ],
)
def test_differences_are_named(change: dict[str, object], message: str) -> None:
    assert difference(HERE, HERE) == ""
    text = difference(HERE, replace(HERE, **change))  # type: ignore[arg-type]
    assert message in text
    assert "\n" not in text


def test_facts_cover_every_source_file_plugin_and_package(tmp_path: Path) -> None:
    plugin, note = tmp_path / "mine.py", tmp_path / "note"
    plugin.write_text("A = 1\n")
    absent = facts([str(plugin)], str(note))
    note.write_text("seen")
    plugin.write_text("A = 2\n")
    there = facts([str(plugin)], str(note))
    assert (absent.note, there.note) == ("", "seen")
    assert absent.plugins != there.plugins
    assert absent.code == there.code
    assert {"bench/sweep/cells.py", "bench/motion/windows.py", "models/base.py"} <= set(there.code)
    assert set(there.packages) == {"python", *PACKAGES}


def test_facts_need_no_slow_imports() -> None:
    """Those take seconds, in a worker that Ray gives no trial afterwards."""
    heavy = "{'torch', 'pandas', 'scipy'} & sys.modules.keys()"
    code = f"import sys, bench.sweep.machines as m; m.facts([], ''); assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)
