"""Imports from a checkout of published code, with an invented checkout."""

import copy
import sys
from pathlib import Path

import pytest
import torch

import models.hgvae
from bench.cli import main
from bench.core.errors import InputError
from bench.speed.published import kind, modules
from bench.speed.published_predictors import FUTURE, SPEC, PublishedSiMLPe, agreement
from bench.speed.work import windows
from predictors.simlpe import SiMLPe


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


SIMLPE = """
import torch
from einops.layers.torch import Rearrange
from torch import nn

class Norm(nn.Module):
    def __init__(self, nodes):
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1, nodes, 1))
        self.beta = nn.Parameter(torch.rand(1, nodes, 1))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        scale = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * self.alpha + self.beta

class Block(nn.Module):
    def __init__(self, frames, nodes):
        super().__init__()
        self.fc0 = nn.Module()
        self.fc0.fc = nn.Linear(frames, frames)
        self.norm0 = Norm(nodes)

    def forward(self, x):
        return x + self.norm0(self.fc0.fc(x))

class siMLPe(nn.Module):
    def __init__(self, config):
        super().__init__()
        options, nodes = config.motion_mlp, config.motion.dim
        blocks = [Block(options["seq_len"], nodes) for _ in range(options.num_layers)]
        self.motion_mlp = nn.Module()
        self.motion_mlp.mlps = nn.Sequential(*blocks)
        self.motion_fc_in, self.motion_fc_out = nn.Linear(nodes, nodes), nn.Linear(nodes, nodes)
        self.swap, self.back = Rearrange("b n d -> b d n"), Rearrange("b d n -> b n d")

    def forward(self, x):
        x = self.motion_mlp.mlps(self.swap(self.motion_fc_in(x)))
        return self.motion_fc_out(self.back(x))
"""


def test_simlpe_gets_the_weights_of_a_checkout(tmp_path: Path) -> None:
    folder = tmp_path / "exps" / "baseline_h36m"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(SIMLPE)
    (folder / "mlp.py").touch()
    assert kind(tmp_path) == "simlpe"
    ours = SiMLPe(SPEC, SiMLPe.Settings(blocks=2))
    theirs = PublishedSiMLPe(tmp_path, ours)
    motion = windows(6, SPEC.frames + FUTURE)
    assert max(agreement(ours, theirs, motion)) < 1e-4
    predicted = ours.eval().predict(motion[:, : SPEC.frames])
    torch.testing.assert_close(predicted, theirs.predict(motion)(), rtol=1e-4, atol=0.1)
    before = copy.deepcopy(theirs.network.state_dict())
    assert float(theirs.train_step(motion)()) > 0
    assert any(not torch.equal(before[k], v) for k, v in theirs.network.state_dict().items())


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
