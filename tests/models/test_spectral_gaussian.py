"""The window Gaussian shrunk in the frequency domain, against spectra of the windows themselves."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.interpolate import CubicSpline

from bench.motion import mirrored
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.frames import Frames
from models.conditioning import Gaussian
from models.families import FAMILIES
from models.spectral_gaussian import RIDGE, SpectralGaussian
from tests.conftest import walk

SHORT: dict[str, Any] = {"windows": 60, "frames": 12}
"""Windows of 648 values, quick to invert."""


def model(**settings: Any) -> SpectralGaussian:
    train = walk(**SHORT, seed=1)
    return SpectralGaussian(train.spec, SpectralGaussian.Settings(**settings))


def both_sides(windows: np.ndarray) -> np.ndarray:
    """Return windows and their mirror images, ``(window, frame, node)``."""
    images = mirrored(windows, walk(**SHORT, seed=1).skeleton)
    both = np.concatenate([windows, images]).astype(np.float64)
    return both.reshape(*both.shape[:2], -1)


def test_moments_are_those_of_windows_and_their_mirror_images() -> None:
    train = walk(**SHORT, seed=1)
    mean, covariance = model(stationary=0.0).moments(train)
    both = both_sides(train.tensor().numpy()).reshape(2 * len(train), -1)
    np.testing.assert_allclose(mean, both.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(covariance, np.cov(both.T, bias=True), rtol=1e-6, atol=0.1)


def test_a_stationary_covariance_has_each_frequency_s_and_nothing_between_them() -> None:
    train = walk(**SHORT, seed=1)
    _, covariance = model(stationary=1.0).moments(train)
    both = both_sides(train.tensor().numpy())
    spectra = dct(both - both.mean(axis=0), norm="ortho", axis=1)
    size = spectra.shape[2]
    found = covariance.numpy().reshape(12, size, 12, size)
    of_spectra = dct(dct(found, norm="ortho", axis=0), norm="ortho", axis=2)
    for one in range(12):
        for other in range(12):
            expected = np.zeros((size, size))
            if one == other:
                expected = spectra[:, one].T @ spectra[:, one] / len(spectra)
            np.testing.assert_allclose(of_spectra[one, :, other], expected, rtol=1e-5, atol=0.2)


def test_a_mixture_lies_between() -> None:
    train = walk(**SHORT, seed=1)
    parts = [model(stationary=share).moments(train)[1] for share in (0.0, 0.25, 1.0)]
    torch.testing.assert_close(parts[1], 0.75 * parts[0] + 0.25 * parts[2])


def test_the_conditional_mean_of_much_drift_is_nearly_a_cubic_spline() -> None:
    one = model(drift=1.0)
    size = one.spec.features
    nothing = 1e-9 * torch.eye(size, dtype=torch.float64)
    gaussian = Gaussian(torch.zeros(size).double(), one.regularised(nothing, 1e6))
    frames = np.arange(12)
    hidden = (frames >= 5) & (frames < 8)
    curve = np.sin(frames / 3)
    values = torch.from_numpy(np.tile(curve[:, None], (1, one.spec.nodes)).reshape(1, -1))
    mask = torch.from_numpy(np.repeat(hidden, one.spec.nodes))
    found = gaussian.given(mask).mean(values).view(3, -1)[:, 0].numpy()
    spline = CubicSpline(frames[~hidden], curve[~hidden])(frames[hidden])
    line = np.interp(frames[hidden], frames[~hidden], curve[~hidden])
    assert np.abs(found - spline).max() < 0.25 * np.abs(line - spline).max()


def test_the_drift_moves_coordinates_together_as_poses_do() -> None:
    one = model()
    covariance = one.moments(walk(**SHORT, seed=1))[1]
    found = (one.regularised(covariance, 2.0) - one.regularised(covariance, 0.0)).numpy()
    frames, nodes = one.spec.frames, one.spec.nodes
    blocks = covariance.numpy().reshape(frames, nodes, frames, nodes)
    poses = np.mean([blocks[frame, :, frame] for frame in range(frames)], axis=0)
    within = 0.95 * poses + 0.05 * poses.trace() / nodes * np.eye(nodes)
    basis = dct(np.eye(frames), axis=0, norm="ortho")
    over_time = basis.T @ np.diag(2.0 / np.arange(1, frames + 1) ** 4) @ basis
    expected = np.einsum("fg,ab->fagb", over_time, within).reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * expected.max())


def test_the_ridge_is_a_share_of_the_mean_variance() -> None:
    one = model()
    covariance = torch.diag(torch.linspace(1, 3, one.spec.features, dtype=torch.float64))
    added = one.regularised(covariance, 0.0) - covariance
    torch.testing.assert_close(added, RIDGE * 2 * torch.eye(len(added), dtype=torch.float64))


def test_families_choose_their_drift_and_settings_can_state_it() -> None:
    train, valid, test = walk(**SHORT, seed=1), walk(**SHORT, seed=2), walk(4, 12, seed=3)
    chosen = model()
    chosen.fit(train, valid)
    assert set(chosen.chosen.tolist()) <= set(SpectralGaussian.choices)
    stated = model(drift=3.0)
    stated.fit(train, valid)
    assert stated.chosen.tolist() == [3.0] * len(FAMILIES)
    hidden = torch.from_numpy(Frames(level=Level.parse("160 ms")).occluded(test))
    found = chosen.impute(test.tensor(), hidden)
    assert found.sigma is not None
    error = (found.motion - test.tensor())[hidden].square().mean()
    mean = (chosen.mean - test.tensor())[hidden].square().mean()
    assert error < 0.05 * mean


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_nothing_and_everything(share: float) -> None:
    with pytest.raises(ValueError, match="stationary"):
        model(stationary=share)
