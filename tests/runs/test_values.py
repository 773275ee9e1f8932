"""The values of a run, compared with independent computations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score

from bench.analysis.records import SHARES
from bench.datasets.build import load
from bench.motion import Windows
from bench.motion.corruptions.noise import Noise
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from bench.protocol.resolving import resolve
from tests.conftest import TINY
from tests.runs.conftest import latest, scored

SAMPLES = 6


def test_records_follow_from_the_windows(finished: Path) -> None:
    run = finished / "tiny" / "latest"
    records, values = (pd.read_parquet(run / f"{name}.parquet") for name in ("records", "windows"))
    records, values = (table.fillna({"horizon_ms": 0}) for table in (records, values))
    keys = ["split", "predictor", "model", "inference", "mechanism", "level", "seed"]
    keys += ["horizon_ms", "metric"]
    # How much of joints and frames is hidden is kept by window alone.
    values = values[~values["metric"].isin(SHARES)]
    means = values.groupby(keys)["value"].mean()
    direct = records[~records["metric"].str.startswith("change")].set_index(keys)["value"]
    pd.testing.assert_series_equal(direct.sort_index(), means.sort_index(), check_names=False)


def test_recorded_errors_are_those_of_one_mask_for_all(finished: Path) -> None:
    """Zero's and mean's errors, recomputed from the data and the mechanism's own mask."""
    run = finished / "tiny" / "latest"
    protocol = resolve(yaml.safe_load((run / "protocol.yaml").read_text()))
    data = load(protocol.dataset, None, finished / ".store" / "windows")
    test, train = data.splits["test"].thin(12), data.splits["train"].thin(40)
    truth = np.asarray(test.motion, dtype=np.float64)
    mean = np.asarray(train.motion, dtype=np.float64).mean(axis=0)
    fills = {"zero": 0.0, "mean": mean, "wrong_mean": 3.03 * mean}
    checked = 0
    values = pd.read_parquet(run / "windows.parquet").query("metric == 'mse'")
    for labels, group in values.groupby(["model", "level", "seed"]):
        model, level, seed = map(str, labels)
        if model in fills:
            hidden = Features(level=Level.parse(level), seed=int(seed)).occluded(test)
            squared = np.where(hidden, (truth - fills[model]) ** 2, 0).reshape(12, -1)
            expected = squared.sum(axis=1) / hidden.reshape(12, -1).sum(axis=1)
            recorded = group.set_index("window").loc[test.names, "value"]
            np.testing.assert_allclose(recorded, expected, rtol=1e-4)
            checked += 1
    assert checked == 3 * 3 * 2


def scored_all(values: pd.DataFrame, metric: str, model: str) -> "pd.Series[float]":
    """Return a metric of clean windows, all seeds."""
    clean = (values["metric"] == metric) & (values["mechanism"] == "")
    return values.loc[clean & (values["model"] == model), "value"]


def test_a_recorded_auroc_is_sklearns_of_the_windows(finished: Path) -> None:
    values, table = latest(finished, "windows.parquet"), latest(finished, "ood.csv")
    rows = table[(table["metric"] == "auroc") & ~table["score"].str.startswith("nlp_z")]
    assert len(rows) == 3 * 2 * 7 + 7 + 1  # by mechanism and level: densities, pca_error, walking
    for row in rows.fillna({"level": ""}).itertuples():
        sign = -1 if row.score == "negative_elbo" else 1
        metric = "elbo" if row.score == "negative_elbo" else str(row.score)
        by_seed = []
        for seed in (0, 1):
            mine = {"model": row.model, "seed": seed}
            clean = scored(values, metric, mechanism="", inference="", **mine)
            inference = "mean" if row.mechanism == "features" else ""
            labels = {"mechanism": row.mechanism, "level": row.level, "inference": inference}
            degraded = scored(values, metric, **labels, **mine)
            truth = np.repeat([0, 1], [len(clean), len(degraded)])
            by_seed.append(roc_auc_score(truth, sign * np.concatenate([clean, degraded])))
        assert row.value == pytest.approx(np.mean(by_seed))


def test_a_comparison_is_computed_from_the_windows(finished: Path) -> None:
    values, table = latest(finished, "windows.parquet"), latest(finished, "comparisons.csv")
    assert list(table["level"]) == ["3", "10%", "50%"]
    errors = values[values["metric"] == "mse"].groupby(["model", "level"])["value"].mean()
    for row in table.itertuples():
        level = str(row.level)
        change = 100 * (errors["zero", level] / errors["wrong_mean", level] - 1)
        assert row.value == pytest.approx(change)
        assert (row.comparison, row.model, row.against) == ("zeros", "zero", "wrong_mean")


class Recomputed:
    """Principal-component errors, recomputed from the data and the stored weights alone."""

    def __init__(self, results: Path) -> None:
        self.protocol = resolve(TINY)
        self.store = results / ".store"
        splits = load(self.protocol.dataset, None, self.store / "windows").splits
        self.train, self.test = splits["train"].thin(40), splits["test"].thin(12)
        self.facts = yaml.safe_load((results / "tiny" / "latest" / "provenance.json").read_text())

    def foreign(self) -> Windows:
        others = load(self.protocol.foreign["others"], None, self.store / "windows")
        return others.splits["test"].thin(12)

    def weights(self, model: str, seed: int) -> dict[str, NDArray[np.float64]]:
        (key,) = (
            fit["key"]
            for fit in self.facts["fits"].values()
            if (fit["model"], fit["seed"]) == (model, seed)
        )
        kept = load_file(self.store / "fits" / key / "weights.safetensors")
        return {name: value.astype(np.float64) for name, value in kept.items()}

    def residual(self, model: str, seed: int, motion: ArrayLike) -> NDArray[np.float64]:
        """Return the mean squared error of windows reconstructed from a fit's components."""
        kept = self.weights(model, seed)
        around = flat(motion) - kept["principal.origin"]
        components = kept["principal.components"]
        return ((around - around @ components.T @ components) ** 2).mean(axis=1)


def flat(motion: ArrayLike) -> NDArray[np.float64]:
    windows = np.asarray(motion, dtype=np.float64)
    return windows.reshape(len(windows), -1)


def test_clean_corrupted_and_foreign_windows_have_their_scores(finished: Path) -> None:
    values, again = latest(finished, "windows.parquet"), Recomputed(finished)
    clean, foreign = np.asarray(again.test.motion), again.foreign()
    strangers = [f"others/{name}" for name in foreign.names]
    assert not set(strangers) & set(again.test.names)
    for seed in (0, 1):
        conditions: dict[tuple[str, str], tuple[list[str], ArrayLike]] = {
            ("", "0"): (again.test.names, clean),
            ("noise", "5 mm"): (again.test.names, Noise(level=5, seed=seed).apply(again.test)),
            ("noise", "50 mm"): (again.test.names, Noise(level=50, seed=seed).apply(again.test)),
            ("time_reversal", ""): (again.test.names, clean[:, ::-1]),
            ("others", ""): (strangers, np.asarray(foreign.motion)),
        }
        for (mechanism, level), (names, motion) in conditions.items():
            labels = {"mechanism": mechanism, "level": level, "inference": "", "seed": seed}
            recorded = scored(values, "distance", model="pca_error", **labels)
            assert list(recorded.index) == names
            expected = again.residual("pca_error", seed, motion)
            np.testing.assert_allclose(recorded, expected, rtol=1e-4)
    sources = values.loc[values["mechanism"] == "others", "source"]
    assert set(sources) == {f"others/{name}" for name in foreign.index["source"]}


def test_noise_changes_every_window_for_every_model_and_seed(finished: Path) -> None:
    values = latest(finished, "windows.parquet")
    for model, metric in (("vae", "elbo"), ("hgvae", "nlp"), ("pca_error", "distance")):
        for level in ("5 mm", "50 mm"):
            by_seed = []
            for seed in (0, 1):
                mine = {"model": model, "seed": seed, "inference": ""}
                clean = scored(values, metric, mechanism="", **mine)
                noisy = scored(values, metric, mechanism="noise", level=level, **mine)
                assert list(noisy.index) == list(clean.index)
                assert (noisy != clean).all()
                by_seed.append((noisy - clean).to_numpy())
            assert (by_seed[0] != by_seed[1]).all()


def test_a_model_of_one_action_scores_windows_of_it_as_clean_and_others_as_unseen(
    finished: Path,
) -> None:
    values, again = latest(finished, "windows.parquet"), Recomputed(finished)
    walking = values[values["model"] == "walking"]
    assert set(walking["metric"]) == {"distance"}
    assert set(walking["mechanism"]) == {"", "unseen actions"}
    action = dict(zip(again.test.names, again.test.index["action"], strict=True))
    names = {
        mechanism: list(group.loc[group["metric"] == "distance", "window"])
        for mechanism, group in walking[walking["seed"] == 0].groupby("mechanism")
    }
    assert names[""] == [name for name in action if action[name] == "walk"]
    assert names["unseen actions"] == [name for name in action if action[name] != "walk"]
    assert len(names[""]) + len(names["unseen actions"]) == 12
    train, place = again.train, {name: row for row, name in enumerate(again.test.names)}
    walks = train.take((train.index["action"] == "walk").to_numpy())
    for seed in (0, 1):
        # Fitted on the train windows of that action alone.
        origin = again.weights("walking", seed)["principal.origin"]
        np.testing.assert_allclose(origin, flat(walks.motion).mean(axis=0), rtol=1e-5, atol=1e-3)
        expected = again.residual("walking", seed, again.test.motion)
        for mechanism, rows in names.items():
            recorded = scored(values, "distance", model="walking", mechanism=mechanism, seed=seed)
            chosen = expected[[place[name] for name in rows]]
            np.testing.assert_allclose(recorded, chosen, rtol=1e-4)


def test_samples_have_records_in_a_separate_split(finished: Path) -> None:
    records, values = latest(finished, "records.parquet"), latest(finished, "windows.parquet")
    samples = records[records["split"] == "sample"]
    assert set(records["split"]) == {"test", "sample"}
    assert set(samples["model"]) == {"hgvae", "untrained", "vae"}
    assert set(samples["metric"]) == {"bones_in_range", "bone_excess"}
    assert (samples["n"] == SAMPLES).all()
    assert len(samples) == 3 * 2 * 2
    measured = {"bones_in_range", "bone_excess"}
    assert not measured & set(records.loc[records["split"] == "test", "metric"])
    drawn = values[values["split"] == "sample"]
    assert not set(drawn["window"]) & set(values.loc[values["split"] == "test", "window"])
    share = drawn.loc[drawn["metric"] == "bones_in_range", "value"]
    excess = drawn.loc[drawn["metric"] == "bone_excess", "value"]
    assert share.between(0, 1).all()
    assert (excess > 0).all()  # models trained so little draw bones of wrong lengths
    # Another seed draws other samples.
    seeds = drawn[(drawn["model"] == "vae") & (drawn["metric"] == "bone_excess")]
    first, second = (seeds.loc[seeds["seed"] == seed, "value"].to_numpy() for seed in (0, 1))
    assert (first != second).all()


def test_quality_is_reported_for_every_generative_model(finished: Path) -> None:
    table = latest(finished, "models.csv").set_index(["model", "metric"])
    values = latest(finished, "windows.parquet")
    for model in ("hgvae", "untrained", "vae"):
        elbo = scored_all(values, "elbo", model)
        squared = scored_all(values, "reconstruction_mse", model)
        quality = table.loc[model]["value"]
        assert quality["elbo_per_dimension"] == pytest.approx(elbo.mean() / 2700)
        assert quality["reconstruction_rmse"] == pytest.approx(squared.mean() ** 0.5)
        assert quality["parameters"] > 1000
        assert quality["fit_seconds"] > 0
    # Of a detector with latents, only the accuracy of actions is computed.
    assert set(table.loc["pca_error"].index) >= {"action_accuracy"}
    assert "elbo_per_dimension" not in table.loc["pca_error"].index
    assert "walking" not in table.index.get_level_values("model")
