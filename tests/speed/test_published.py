"""Imports from a checkout of published code, with an invented checkout."""

import sys
from pathlib import Path

import pytest

import models.hgvae
from bench.cli import main
from bench.core.errors import InputError
from bench.speed.published import kind, modules


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "HGVAE.py").write_text("import models.utils as u\nvalue = u.value\n")
    (tmp_path / "models" / "utils.py").write_text("value = 7\n")
    (tmp_path / "train.py").write_text("import absent_here\n")
    return tmp_path


def test_modules_of_a_checkout_do_not_replace_ours(checkout: Path) -> None:
    before = dict(sys.modules)
    (theirs,) = modules(checkout, "models.HGVAE")
    assert theirs.value == 7
    assert sys.modules["models.hgvae"] is models.hgvae
    assert {name: sys.modules[name] for name in before} == before
    assert not [
        one for one in sys.modules.values() if str(checkout) in str(vars(one).get("__file__"))
    ]
    assert str(checkout) not in sys.path


def test_a_missing_package_is_named(checkout: Path) -> None:
    assert kind(checkout) == "hgvae"
    with pytest.raises(InputError, match=r"cannot be imported.*absent_here"):
        modules(checkout, "train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed", "trian"], "no row called 'trian' (did you mean 'train'?)"),
        (
            ["speed", "--against", "nowhere"],
            "--against nowhere: no checkout of supported published code",
        ),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
