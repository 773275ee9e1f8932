"""The paper's claims, each held against a run: the paper's figure, ours, a verdict, a control."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.analysis import forecasting, statistics, tables
from bench.analysis.results import Results
from bench.core.files import atomic_file
from bench.protocol.schema import Protocol
from bench.sweep.jobs import DEGRADED
from models.base import ConditionalImputer
from models.inference.map import Map
from models.mean import Mean

HEADLINE = -77.0
HEADLINE_WIDTH = 1.0
VAE_LEVEL = 0.3
"""The paper's VAE notices at about 50 %; a share above this is taken for about that."""
HGVAE_LEVEL = 0.005
STRAIGHT = 0.95
"""Share of variance that a straight line must explain to be called consistent."""

CLEAN = "clean"
"""Stands for a level of clean windows."""

Verdict = Literal["holds", "does not hold", "not tested", "withheld"]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper and what became of it.

    Attributes:
        claim: its letter.
        statement: what is claimed.
        paper: the paper's figure.
        ours: the run's figure, with its 95 % interval.
        verdict: whether it holds here; withheld of a quick look, which settles nothing.
        control: the same figure of what must not look good, or of a simple baseline.
    """

    claim: str
    statement: str
    paper: str
    ours: str
    verdict: Verdict
    control: str = ""


@dataclass(frozen=True)
class _Cast:
    """Which labels of a protocol play the parts in the paper's claims; None: nobody does."""

    hgvae: str | None
    vae: str | None
    controls: tuple[str, ...]
    inference: str | None
    mechanism: str | None


def claims(results: Results) -> list[Claim]:
    """Return the claims (a) to (f), some in two parts, with the run's verdict on each."""
    cast, results = _cast(results.protocol), results.with_values
    judged = [_error, _audit, _detection, _order, _log_log, _forecasting, _actions, _drawn]
    told = [judge(results, cast) for judge in judged]
    if results.protocol.limit:
        told = [
            replace(claim, verdict="withheld") if claim.verdict != "not tested" else claim
            for claim in told
        ]
    return told


def table(judged: list[Claim]) -> pd.DataFrame:
    """Return claims as a table, one row each."""
    return pd.DataFrame([vars(claim) for claim in judged])


def write(results: Results, folder: Path) -> None:
    """Write ``claims.csv`` and ``claims.md`` of a run's results."""
    rows = table(claims(results))
    stamped = rows.assign(dataset=results.label, **results.counts)
    with atomic_file(folder / "claims.csv") as draft:
        stamped.to_csv(draft, index=False, lineterminator="\n")
    with atomic_file(folder / "claims.md") as draft:
        note = f"# The paper's claims\n\nData: {results.basis}."
        draft.write_text(f"{note}\n\n{rows.to_markdown(index=False)}\n", encoding="utf-8")


def _cast(protocol: Protocol) -> _Cast:
    def first(name: str) -> str | None:
        usual = (label for label, entry in protocol.models.items() if entry.model == name)
        return next((label for label in usual if not protocol.models[label].train_on), None)

    inference = next(
        (label for label, way in protocol.inference.items() if _is_papers_map(way)), None
    )
    mechanism = next(
        (label for label, entry in protocol.occlusion.items() if entry.mechanism == "features"),
        None,
    )
    controls = tuple(label for label, entry in protocol.models.items() if entry.cls.control)
    return _Cast(first("hgvae"), first("vae"), controls, inference, mechanism)


def _is_papers_map(way: object) -> bool:
    return isinstance(way, Map) and way in (
        Map(steps=10, batch=way.batch),
        Map(steps=10, rate=1.0, batch=way.batch),
    )


def _error(results: Results, cast: _Cast) -> Claim:
    paper = "-77 +- 1 %, at every degree"
    statement = "(a) 10 steps of MAP lower the MSE by 77 % against mean imputation at every degree"
    changes = _changes(results, cast, cast.hgvae)
    if changes.empty:
        return Claim("a", statement, paper, "", "not tested")
    reached = changes["low"].fillna(changes["value"]) <= HEADLINE + HEADLINE_WIDTH
    rivals = [label for label in ("linear", *cast.controls) if label in results.protocol.models]
    told = [f"{label}: {span}" for label in rivals if (span := _span_of(results, cast, label))]
    verdict: Verdict = "holds" if reached.all() else "does not hold"
    return Claim("a", statement, paper, _span(changes), verdict, "; ".join(told))


def _audit(results: Results, cast: _Cast) -> Claim:
    """Judge what the paper's figure is worth: whether controls reach it as it was measured."""
    statement = "(a, audit) the 77 % tell a trained model from none, measured as the code does"
    paper = "-77 +- 1 %, by a trained HG-VAE"
    means = {
        label
        for label, entry in results.protocol.models.items()
        if entry.model == Mean.name and entry.settings.scale != 1
    }
    table = results.comparisons
    if table.empty or not means:
        return Claim("a", statement, paper, "run protocols/audit.yaml", "not tested")
    table = table[table["against"].isin(means) & (table["mechanism"] == cast.mechanism)]
    by_control = {
        str(label): group
        for label, group in table.groupby("comparison", sort=False)
        if group["model"].iloc[0] in cast.controls
    }
    if not by_control:
        return Claim("a", statement, paper, "no control took part", "not tested")
    told = [f"{label}: {_span(group)}" for label, group in by_control.items()]
    fooled = any((group["value"] <= HEADLINE + 7).all() for group in by_control.values())
    verdict: Verdict = "does not hold" if fooled else "holds"
    rest = table[~table["comparison"].isin(by_control)]
    trained = [
        f"{label}: {_span(rest[rest['comparison'] == label])}"
        for label in rest["comparison"].unique()
    ]
    return Claim("a", statement, paper, "; ".join(trained), verdict, "; ".join(told))


def _detection(results: Results, cast: _Cast) -> Claim:
    statement = "(b) the posterior leaves clean +-1 sd: HG-VAE's soon, the VAE's late"
    paper = "HG-VAE at 0.5 % of features, VAE at about 50 %"
    levels = results.levels
    levels = levels[(levels["mechanism"] == cast.mechanism) & (levels["score"] != "negative_elbo")]
    sums = levels[levels["score"] == "nlp"]
    shares: dict[str, float] = dict(zip(sums["model"], sums["share"], strict=True))
    if cast.hgvae not in shares or cast.vae not in shares:
        return Claim("b", statement, paper, "", "not tested")
    soon = shares[cast.hgvae] <= HGVAE_LEVEL
    late = np.isnan(shares[cast.vae]) or shares[cast.vae] >= VAE_LEVEL
    told = {
        model: _level(results, cast, model, score)
        for model, score in zip(levels["model"], levels["score"], strict=True)
        if score in ("nlp", "distance")
    }
    ours = "; ".join(f"{label}: {told.pop(label)}" for label in (cast.hgvae, cast.vae))
    control = "; ".join(f"{label}: {text}" for label, text in told.items())
    verdict: Verdict = "holds" if soon and late else "does not hold"
    return Claim("b", statement, paper, ours, verdict, control)


def _level(results: Results, cast: _Cast, model: str, score: str) -> str:
    """Return a detection level with the shift there, or with that at the highest level tried."""
    shifts = results.detection
    shifts = shifts[
        (shifts["model"] == model) & (shifts["score"] == score) & (shifts["metric"] == "shift_sd")
    ]
    occluded = shifts[shifts["mechanism"] == cast.mechanism].sort_values("share")
    noticed = occluded[occluded["value"].abs() > 1]
    at = noticed.iloc[0] if len(noticed) else occluded.iloc[-1]
    shift = f"{tables.interval(at['value'], at['low'], at['high'])} sd"
    level = str(at["level"])
    return f"{level} ({shift})" if len(noticed) else f"at none tried ({shift} at {level})"


def _order(results: Results, cast: _Cast) -> Claim:
    statement = (
        "(c) MAP's posterior: between degraded and clean for HG-VAE, above clean for the VAE"
    )
    paper = "so at every degree (Fig. 4)"
    ours, whole = [], []
    for label, wanted in ((cast.hgvae, "between"), (cast.vae, "above")):
        orders = _orders(results, cast, label)
        if not orders:
            return Claim("c", statement, paper, "", "not tested")
        count = sum(order == wanted for order in orders)
        whole.append(count == len(orders))
        ours.append(f"{label}: {wanted} at {count} of {len(orders)} levels")
    told = []
    for label in cast.controls:
        if orders := _orders(results, cast, label):
            count = sum(order == "between" for order in orders)
            told.append(f"{label}: between at {count} of {len(orders)} levels")
    verdict: Verdict = "holds" if all(whole) else "does not hold"
    return Claim("c", statement, paper, "; ".join(ours), verdict, "; ".join(told))


def _orders(results: Results, cast: _Cast, label: str | None) -> list[str]:
    """Return where the mean posterior after MAP lies, by level: between, above, or below."""
    clean, degraded, after = (
        _scores(results, cast, label, inference) for inference in ("", DEGRADED, cast.inference)
    )
    if clean.empty or degraded.empty or after.empty:
        return []
    reference = float(clean["value"].mean())
    orders = []
    starts, ends = (part.groupby("level", sort=False)["value"].mean() for part in (degraded, after))
    for nlp, start in pd.concat([ends, starts], axis=1, join="inner").itertuples(index=False):
        if nlp < reference:
            orders.append("above")
        else:
            orders.append("between" if nlp <= start else "below")
    return orders


def _log_log(results: Results, cast: _Cast) -> Claim:
    statement = "(d) HG-VAE's change in log posterior is consistent over degrees, log-log"
    paper = "a straight line (Fig. 5)"
    judged = {
        label: line
        for label in (cast.hgvae, *cast.controls)
        if (line := _line(results, cast, label)) is not None
    }
    if cast.hgvae not in judged:
        return Claim("d", statement, paper, "", "not tested")
    line = judged.pop(cast.hgvae)
    verdict: Verdict = "holds" if line.straight else "does not hold"
    control = "; ".join(f"{label}: {other.text}" for label, other in judged.items())
    return Claim("d", statement, paper, line.text, verdict, control)


@dataclass(frozen=True)
class _Line:
    """A straight line through the change of the posterior over the share hidden, log-log."""

    text: str
    straight: bool


def _line(results: Results, cast: _Cast, label: str | None) -> _Line | None:
    """Fit a line with a bootstrap over recordings and seeds; None if there are too few levels."""
    clean, degraded = (_scores(results, cast, label, way) for way in ("", DEGRADED))
    if clean.empty or degraded["level"].nunique() < 3:
        return None
    scores = pd.concat([degraded, clean.assign(level=CLEAN)]).pivot(
        index=["seed", "source", "window"], columns="level", values="value"
    )
    # What is not there under every level cannot be held against the rest.
    scores = scores.dropna()
    if scores.empty:
        return None
    base = scores.pop(CLEAN)
    shares = degraded.groupby("level")["share"].mean().loc[scores.columns].to_numpy()
    seeds, recordings = (scores.index.get_level_values(name) for name in ("seed", "source"))
    columns = np.column_stack([scores.to_numpy(), base.to_numpy()])
    sums = statistics.summed(columns, recordings.to_numpy(), seeds.to_numpy())
    changes = _change(np.vstack([sums.sum(axis=(0, 1)), statistics.draw(sums)]))
    if (changes[0] <= 0).any():
        return _Line("the posterior rises at some level, so no line", False)
    order = np.argsort(shares)
    slopes = np.array([_slope(shares, change) for change in changes if (change > 0).all()])
    explained = _explained(shares, changes[0])
    low, high = np.percentile(slopes[1:], [2.5, 97.5]) if sums.shape[1] > 1 else (np.nan, np.nan)
    rising = bool((np.diff(changes[0][order]) > 0).all())
    text = f"slope {tables.interval(slopes[0], low, high)}, R2 {explained:.3f}"
    return _Line(
        text if rising else f"{text}, not rising throughout", rising and explained >= STRAIGHT
    )


def _change(sums: np.ndarray) -> np.ndarray:
    return (sums[:, :-1] - sums[:, -1:]) / np.abs(sums[:, -1:])


def _slope(shares: np.ndarray, change: np.ndarray) -> float:
    return float(np.polyfit(np.log(shares), np.log(change), 1)[0])


def _explained(shares: np.ndarray, change: np.ndarray) -> float:
    return float(np.corrcoef(np.log(shares), np.log(change))[0, 1] ** 2)


def _forecasting(results: Results, cast: _Cast) -> Claim:
    statement = "(e) MAP imputation lowers every predictor's MPJPE at every degree"
    paper = "HisRepItself: -33 % at 10 % missing"
    changes = _helped(results, cast, cast.hgvae, cast.inference)
    if changes.empty:
        return Claim("e", statement, paper, "", "not tested")
    lowered = changes["high"].fillna(changes["value"]) < 0
    ours = "; ".join(
        f"{predictor}: {_span(group)}" for predictor, group in changes.groupby("predictor")
    )
    rivals = [*results.protocol.references, *cast.controls]
    told = [
        f"{label}: {_span(group)}"
        for label in dict.fromkeys(rivals)
        if not (group := _helped(results, cast, label, cast.inference)).empty and label != "mean"
    ]
    verdict: Verdict = "holds" if lowered.all() else "does not hold"
    return Claim("e", statement, paper, ours, verdict, "; ".join(told))


def _helped(
    results: Results, cast: _Cast, label: str | None, inference: str | None
) -> pd.DataFrame:
    """Return the change of each fitted predictor's error by a completion, against the mean's."""
    predictors = results.protocol.predictors
    usual = [name for name, entry in predictors.items() if entry.cls.trained and not entry.degraded]
    table = results.forecasting
    return table[
        (table["metric"] == forecasting.CHANGE)
        & table["predictor"].isin(usual)
        & (table["model"] == label)
        & table["inference"].isin(["", inference])
        & (table["mechanism"] == cast.mechanism)
    ]


def _actions(results: Results, cast: _Cast) -> Claim:
    """Judge by whether the five nearest train windows in z0 tell a test window's action."""
    statement = "(f) z0 separates action categories"
    paper = "samples differ by class (Fig. 3); no figure"
    told = results.quality[results.quality["metric"] == "action_accuracy"].set_index("model")
    rivals = [label for label in told.index if label in cast.controls]
    if cast.hgvae is None or cast.hgvae not in told.index or not rivals:
        return Claim("f", statement, paper, "", "not tested")
    text = {
        label: f"{label}: {tables.interval(row['value'], row['low'], row['high'])} %"
        for label, row in told.iterrows()
    }
    # Nearest neighbours in any fixed map of the window tell actions; z0 must do better.
    floor = told["value"].loc[rivals].max()
    better = told["low"].loc[cast.hgvae] > floor
    control = "; ".join(text[label] for label in told.index if label != cast.hgvae)
    verdict: Verdict = "holds" if better else "does not hold"
    return Claim("f", statement, paper, text[cast.hgvae], verdict, control)


def _drawn(results: Results, cast: _Cast) -> Claim:
    """Judge by whether a classifier takes windows drawn for an action for that action.

    Models that cannot be told it show what ignoring it gives.
    """
    statement = "(f, drawn) windows drawn for an action are of it"
    paper = "samples differ by class (Fig. 3); no figure"
    table = results.generation
    told = table[(table["metric"] == "action_told") & (table["action"] == "")].set_index("model")
    models = results.protocol.models
    asked = [label for label in told.index if issubclass(models[label].cls, ConditionalImputer)]
    deaf = [label for label in told.index if label not in (*asked, results.protocol.judge)]
    if not asked or not deaf:
        return Claim("f", statement, paper, "", "not tested")
    text = {
        label: f"{label}: {tables.interval(row['value'], row['low'], row['high'])} %"
        for label, row in told.rename(index={results.protocol.judge: "test windows"}).iterrows()
    }
    floor = told["value"].loc[deaf].max()
    better = bool((told["low"].loc[asked] > floor).all())
    ours = "; ".join(text[label] for label in asked)
    control = "; ".join(span for label, span in text.items() if label not in asked)
    return Claim("f", statement, paper, ours, "holds" if better else "does not hold", control)


def _scores(
    results: Results, cast: _Cast, label: str | None, inference: str | None
) -> pd.DataFrame:
    """Return a model's negative log posteriors on clean windows, or on hidden ones by inference."""
    values = results.values
    mechanism = "" if inference == "" else cast.mechanism
    return values[
        (values["metric"] == "nlp")
        & (values["split"] == "test")
        & (values["model"] == label)
        & (values["inference"] == inference)
        & (values["mechanism"] == mechanism)
    ]


def _changes(results: Results, cast: _Cast, label: str | None) -> pd.DataFrame:
    """Return a model's change of MSE against mean imputation by level of random features."""
    table = results.imputation
    return table[
        (table["metric"] == "change_vs_mean")
        & (table["model"] == label)
        & table["inference"].isin(["", cast.inference])
        & (table["mechanism"] == cast.mechanism)
    ]


def _span_of(results: Results, cast: _Cast, label: str) -> str:
    changes = _changes(results, cast, label)
    return "" if changes.empty else _span(changes)


def _span(changes: pd.DataFrame) -> str:
    """Return the lowest and the highest change over levels, each with its interval."""
    ordered = changes.sort_values("value")
    ends = ordered.iloc[[0, -1]] if len(ordered) > 1 else ordered
    texts = [
        f"{tables.interval(row['value'], row['low'], row['high'])} %" for _, row in ends.iterrows()
    ]
    return " to ".join(dict.fromkeys(texts))
