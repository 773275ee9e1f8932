"""The verdict on each of the paper's claims: one function per claim, from a run's tables."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bench.analysis import forecasting, statistics, tables
from bench.analysis.results import Results
from bench.sweep.jobs import DEGRADED
from models.base import ConditionalImputer
from models.mean import Mean

HEADLINE = -77.0
"""The paper's change of MSE against mean imputation, per cent."""


HEADLINE_WIDTH = 1.0
"""The uncertainty that the paper states for it, percentage points."""


VAE_LEVEL = 0.3
"""The paper's VAE detects about 50 % hidden; any share from this on counts as about 50 %."""


HGVAE_LEVEL = 0.005
"""The share hidden that the paper's HG-VAE detects."""


STRAIGHT = 0.95
"""Share of variance that a straight line must explain to be called consistent."""


CLEAN = "clean"
"""The level of clean windows in a table by level."""


Verdict = Literal["holds", "does not hold", "not tested", "withheld"]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper and the run's verdict on it.

    Attributes:
        claim: its letter.
        statement: what is claimed.
        paper: the paper's figure.
        ours: the run's figure, with its 95 % interval.
        verdict: whether it holds in this run; withheld for a smoke run, which settles nothing.
        control: the same figure of a control or a simple baseline.
    """

    claim: str
    statement: str
    paper: str
    ours: str
    verdict: Verdict
    control: str = ""


@dataclass(frozen=True)
class Roles:
    """The labels of a protocol that have a role in the paper's claims; None: it has none."""

    hgvae: str | None
    vae: str | None
    controls: tuple[str, ...]
    inference: str | None
    mechanism: str | None


def error_verdict(results: Results, roles: Roles) -> Claim:
    """Judge claim (a): 77 % lower MSE at every degree (sec. 6.3)."""
    paper = "-77 +- 1 %, at every degree"
    statement = "(a) 10 steps of MAP lower the MSE by 77 % against mean imputation at every degree"
    changes = _changes(results, roles, roles.hgvae)
    if changes.empty:
        return Claim("a", statement, paper, "", "not tested")
    reached = changes["low"].fillna(changes["value"]) <= HEADLINE + HEADLINE_WIDTH
    rivals = [label for label in ("linear", *roles.controls) if label in results.protocol.models]
    texts = [f"{label}: {span}" for label in rivals if (span := _span_of(results, roles, label))]
    verdict: Verdict = "holds" if reached.all() else "does not hold"
    return Claim("a", statement, paper, _span(changes), verdict, "; ".join(texts))


def audit_verdict(results: Results, roles: Roles) -> Claim:
    """Test whether controls reach the paper's figure, measured as in its published code.

    The code's reference is a mean of the wrong scale: a comparison against such a ``mean`` model.
    """
    statement = (
        "(a, audit) the 77 % distinguish a trained model from none, measured as the code does"
    )
    paper = "-77 +- 1 %, by a trained HG-VAE"
    means = {
        label
        for label, entry in results.protocol.models.items()
        if entry.model == Mean.name and entry.settings.scale != 1
    }
    table = results.comparisons
    if table.empty or not means:
        return Claim("a", statement, paper, "run protocols/audit.yaml", "not tested")
    table = table[table["against"].isin(means) & (table["mechanism"] == roles.mechanism)]
    by_control = {
        str(label): group
        for label, group in table.groupby("comparison", sort=False)
        if group["model"].iloc[0] in roles.controls
    }
    if not by_control:
        return Claim("a", statement, paper, "no control was run", "not tested")
    texts = [f"{label}: {_span(group)}" for label, group in by_control.items()]
    reached = any((group["value"] <= HEADLINE + 7).all() for group in by_control.values())
    verdict: Verdict = "does not hold" if reached else "holds"
    rest = table[~table["comparison"].isin(by_control)]
    trained = [
        f"{label}: {_span(rest[rest['comparison'] == label])}"
        for label in rest["comparison"].unique()
    ]
    return Claim("a", statement, paper, "; ".join(trained), verdict, "; ".join(texts))


def detection_verdict(results: Results, roles: Roles) -> Claim:
    """Judge claim (b): when the posterior leaves that of clean windows (Fig. 4)."""
    statement = (
        "(b) the posterior leaves that of clean windows +-1 sd: HG-VAE's with few features "
        "hidden, the VAE's with many only"
    )
    paper = "HG-VAE at 0.5 % of features, VAE at about 50 %"
    levels = results.levels
    levels = levels[(levels["mechanism"] == roles.mechanism) & (levels["score"] != "negative_elbo")]
    sums = levels[levels["score"] == "nlp"]
    shares: dict[str, float] = dict(zip(sums["model"], sums["share"], strict=True))
    if roles.hgvae not in shares or roles.vae not in shares:
        return Claim("b", statement, paper, "", "not tested")
    early = shares[roles.hgvae] <= HGVAE_LEVEL
    late = np.isnan(shares[roles.vae]) or shares[roles.vae] >= VAE_LEVEL
    texts = {
        model: _level(results, roles, model, score)
        for model, score in zip(levels["model"], levels["score"], strict=True)
        if score in ("nlp", "distance")
    }
    ours = "; ".join(f"{label}: {texts.pop(label)}" for label in (roles.hgvae, roles.vae))
    control = "; ".join(f"{label}: {text}" for label, text in texts.items())
    verdict: Verdict = "holds" if early and late else "does not hold"
    return Claim("b", statement, paper, ours, verdict, control)


def _level(results: Results, roles: Roles, model: str, score: str) -> str:
    """Return the detection level with its shift; if none, the shift at the highest level."""
    shifts = results.detection
    shifts = shifts[
        (shifts["model"] == model) & (shifts["score"] == score) & (shifts["metric"] == "shift_sd")
    ]
    occluded = shifts[shifts["mechanism"] == roles.mechanism].sort_values("share")
    detected = occluded[occluded["value"].abs() > 1]
    at = detected.iloc[0] if len(detected) else occluded.iloc[-1]
    shift = f"{tables.interval(at['value'], at['low'], at['high'])} sd"
    level = str(at["level"])
    return f"{level} ({shift})" if len(detected) else f"at no level ({shift} at {level})"


def order_verdict(results: Results, roles: Roles) -> Claim:
    """Judge claim (c): where MAP's posterior lies (Fig. 4)."""
    statement = (
        "(c) MAP's posterior: between degraded and clean for HG-VAE, above clean for the VAE"
    )
    paper = "at every degree (Fig. 4)"
    ours, confirmed = [], []
    for label, expected in ((roles.hgvae, "between"), (roles.vae, "above")):
        orders = _orders(results, roles, label)
        if not orders:
            return Claim("c", statement, paper, "", "not tested")
        count = sum(order == expected for order in orders)
        confirmed.append(count == len(orders))
        ours.append(f"{label}: {expected} at {count} of {len(orders)} levels")
    texts = []
    for label in roles.controls:
        if orders := _orders(results, roles, label):
            count = sum(order == "between" for order in orders)
            texts.append(f"{label}: between at {count} of {len(orders)} levels")
    verdict: Verdict = "holds" if all(confirmed) else "does not hold"
    return Claim("c", statement, paper, "; ".join(ours), verdict, "; ".join(texts))


def _orders(results: Results, roles: Roles, label: str | None) -> list[str]:
    """Return where the mean posterior after MAP lies at each level.

    "between" those of degraded and clean windows, "above" clean or "below" degraded.
    """
    clean, degraded, after = (
        _scores(results, roles, label, inference) for inference in ("", DEGRADED, roles.inference)
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


def log_log_verdict(results: Results, roles: Roles) -> Claim:
    """Judge claim (d): a straight line on a log-log scale (Fig. 5)."""
    statement = "(d) HG-VAE's change in log posterior is consistent over degrees, log-log"
    paper = "a straight line (Fig. 5)"
    lines = {
        label: line
        for label in (roles.hgvae, *roles.controls)
        if (line := _line(results, roles, label)) is not None
    }
    if roles.hgvae not in lines:
        return Claim("d", statement, paper, "", "not tested")
    line = lines.pop(roles.hgvae)
    verdict: Verdict = "holds" if line.straight else "does not hold"
    control = "; ".join(f"{label}: {other.text}" for label, other in lines.items())
    return Claim("d", statement, paper, line.text, verdict, control)


@dataclass(frozen=True)
class _Line:
    """A straight line fitted to the change of the posterior by share hidden, log-log."""

    text: str
    straight: bool


def _line(results: Results, roles: Roles, label: str | None) -> _Line | None:
    """Fit a line with a bootstrap over recordings and seeds; None with fewer than three levels."""
    clean, degraded = (_scores(results, roles, label, inference) for inference in ("", DEGRADED))
    if clean.empty or degraded["level"].nunique() < 3:
        return None
    scores = pd.concat([degraded, clean.assign(level=CLEAN)]).pivot(
        index=["seed", "source", "window"], columns="level", values="value"
    )
    # Windows without a score at some level cannot be compared.
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
        return _Line("no line: the posterior rises at some level", False)
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
    """Return ``(..., level)`` relative changes of sums against those of clean windows, the last."""
    return (sums[:, :-1] - sums[:, -1:]) / np.abs(sums[:, -1:])


def _slope(shares: np.ndarray, change: np.ndarray) -> float:
    return float(np.polyfit(np.log(shares), np.log(change), 1)[0])


def _explained(shares: np.ndarray, change: np.ndarray) -> float:
    """Return the R squared of a line, log-log."""
    return float(np.corrcoef(np.log(shares), np.log(change))[0, 1] ** 2)


def forecasting_verdict(results: Results, roles: Roles) -> Claim:
    """Judge claim (e): lower prediction errors after MAP imputation (Fig. 7)."""
    statement = "(e) MAP imputation lowers every predictor's MPJPE at every degree"
    paper = "HisRepItself: -33 % at 10 % missing"
    changes = _forecast_changes(results, roles, roles.hgvae, roles.inference)
    if changes.empty:
        return Claim("e", statement, paper, "", "not tested")
    lowered = changes["high"].fillna(changes["value"]) < 0
    ours = "; ".join(
        f"{predictor}: {_span(group)}" for predictor, group in changes.groupby("predictor")
    )
    rivals = [*results.protocol.references, *roles.controls]
    texts = [
        f"{label}: {_span(group)}"
        for label in dict.fromkeys(rivals)
        if not (group := _forecast_changes(results, roles, label, roles.inference)).empty
        and label != "mean"
    ]
    verdict: Verdict = "holds" if lowered.all() else "does not hold"
    return Claim("e", statement, paper, ours, verdict, "; ".join(texts))


def _forecast_changes(
    results: Results, roles: Roles, label: str | None, inference: str | None
) -> pd.DataFrame:
    """Return the change of each trained predictor's error by completing its past with a model.

    The change is against the mean-imputed past. Predictors trained on degraded pasts are left out.
    """
    predictors = results.protocol.predictors
    usual = [name for name, entry in predictors.items() if entry.cls.trained and not entry.degraded]
    table = results.forecasting
    return table[
        (table["metric"] == forecasting.CHANGE)
        & table["predictor"].isin(usual)
        & (table["model"] == label)
        & table["inference"].isin(["", inference])
        & (table["mechanism"] == roles.mechanism)
    ]


def actions_verdict(results: Results, roles: Roles) -> Claim:
    """Test whether the nearest train windows in z0 predict actions better than for controls."""
    statement = "(f) z0 separates action categories"
    paper = "samples differ by class (Fig. 3); no figure"
    quality = results.quality
    accuracy = quality[quality["metric"] == "action_accuracy"].set_index("model")
    rivals = [label for label in accuracy.index if label in roles.controls]
    if roles.hgvae is None or roles.hgvae not in accuracy.index or not rivals:
        return Claim("f", statement, paper, "", "not tested")
    text = {
        label: f"{label}: {tables.interval(row['value'], row['low'], row['high'])} %"
        for label, row in accuracy.iterrows()
    }
    # Nearest neighbours under any fixed map of the window predict actions to some extent; z0 must
    # do better.
    floor = accuracy["value"].loc[rivals].max()
    better = accuracy["low"].loc[roles.hgvae] > floor
    control = "; ".join(text[label] for label in accuracy.index if label != roles.hgvae)
    verdict: Verdict = "holds" if better else "does not hold"
    return Claim("f", statement, paper, text[roles.hgvae], verdict, control)


def drawn_verdict(results: Results, roles: Roles) -> Claim:
    """Test whether a classifier recognises windows drawn for an action as that action.

    Models that are not conditioned on the action show what ignoring it gives.
    """
    statement = "(f, drawn) windows drawn for an action show that action"
    paper = "samples differ by class (Fig. 3); no figure"
    table = results.generation
    rows = table[(table["metric"] == "action_told") & (table["action"] == "")].set_index("model")
    models, judge = results.protocol.models, results.protocol.judge
    conditional = [
        label for label in rows.index if issubclass(models[label].cls, ConditionalImputer)
    ]
    unconditional = [label for label in rows.index if label not in (*conditional, judge)]
    if not conditional or not unconditional:
        return Claim("f", statement, paper, "", "not tested")
    text = {
        label: f"{label}: {tables.interval(row['value'], row['low'], row['high'])} %"
        for label, row in rows.rename(index={judge: "test windows"}).iterrows()
    }
    floor = rows["value"].loc[unconditional].max()
    better = bool((rows["low"].loc[conditional] > floor).all())
    ours = "; ".join(text[label] for label in conditional)
    control = "; ".join(span for label, span in text.items() if label not in conditional)
    return Claim("f", statement, paper, ours, "holds" if better else "does not hold", control)


def _scores(
    results: Results, roles: Roles, label: str | None, inference: str | None
) -> pd.DataFrame:
    """Return a model's negative log posteriors on test windows.

    Of clean windows if ``inference`` is empty, else of occluded windows after that inference.
    """
    values = results.values
    mechanism = "" if inference == "" else roles.mechanism
    return values[
        (values["metric"] == "nlp")
        & (values["split"] == "test")
        & (values["model"] == label)
        & (values["inference"] == inference)
        & (values["mechanism"] == mechanism)
    ]


def _changes(results: Results, roles: Roles, label: str | None) -> pd.DataFrame:
    """Return a model's change of MSE against mean imputation by level of hidden features."""
    table = results.imputation
    return table[
        (table["metric"] == "change_vs_mean")
        & (table["model"] == label)
        & table["inference"].isin(["", roles.inference])
        & (table["mechanism"] == roles.mechanism)
    ]


def _span_of(results: Results, roles: Roles, label: str) -> str:
    changes = _changes(results, roles, label)
    return "" if changes.empty else _span(changes)


def _span(changes: pd.DataFrame) -> str:
    """Return the lowest and the highest change over levels, each with its interval."""
    ordered = changes.sort_values("value")
    ends = ordered.iloc[[0, -1]] if len(ordered) > 1 else ordered
    texts = [
        f"{tables.interval(row['value'], row['low'], row['high'])} %" for _, row in ends.iterrows()
    ]
    return " to ".join(dict.fromkeys(texts))
