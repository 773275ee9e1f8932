"""The prediction table: errors of predictors by action, next to published numbers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import records
from bench.analysis.tables import Section, pivot, stated
from bench.protocol.schema import Protocol, Published

AVERAGE = "average"
COMPARABLE = "average, comparable"
"""The action of rows averaged over the actions without absent files."""
COLUMNS = [
    "predictor",
    "windows",
    "action",
    "horizon_ms",
    "value",
    "n",
    "recordings",
    "seeds",
    "published",
    "difference",
    "comparable",
    "source",
    "epochs",
    "train_windows",
    "fit_seconds",
]


def table(
    values: pd.DataFrame,
    protocol: Protocol,
    fits: Iterable[dict[str, Any]],
    absent: Sequence[str],
) -> pd.DataFrame:
    """Return errors of predictions from the true past by action, for each choice of test windows.

    Averages are over actions, as published ones are: ``AVERAGE`` over all of them, ``COMPARABLE``
    over those without an absent file.

    Args:
        values: per-window values of forecasts.
        protocol: what ran.
        fits: summary of every finished fit.
        absent: files of the data set that were missing.

    Returns:
        ``COLUMNS``, a row per predictor, choice of windows, action and horizon: value (MPJPE) and
        published in mm, difference in per cent, and how long the predictor was trained.
    """
    clean = records.plain(values[(values["mechanism"] == "") & (values["metric"] == "mpjpe")])
    if clean.empty:
        return pd.DataFrame(columns=COLUMNS)
    keys = ["predictor", "horizon_ms", "window", "source", "action"]
    means = clean.groupby(keys, sort=False)["value"].agg(["mean", "count"]).reset_index()
    rows = [
        row
        for name, windows in _choices(means, protocol).items()
        for predictor, errors in means.groupby("predictor", sort=False)
        for row in _of_choice(protocol, str(predictor), name, errors, windows, absent)
    ]
    found = pd.DataFrame(rows)
    found["difference"] = 100 * (found["value"] / found["published"] - 1)
    return found.merge(_training(fits), how="left", on="predictor").reindex(columns=COLUMNS)


def sections(table: pd.DataFrame) -> list[Section]:
    """Return a section for each predictor and choice of windows: a row per action."""
    found = []
    for (predictor, windows), rows in table.groupby(["predictor", "windows"], sort=False):
        numbers = [
            f"{value:.1f} ({_stated(published)}, {difference:+.1f} %)"
            if published > 0
            else f"{value:.1f}"
            for value, published, difference in zip(
                rows["value"], rows["published"], rows["difference"], strict=True
            )
        ]
        actions = [
            action if comparable else f"{action} *"
            for action, comparable in zip(rows["action"], rows["comparable"], strict=True)
        ]
        columns = [f"{ms:.0f} ms" for ms in rows["horizon_ms"]]
        name = f"prediction_{predictor}_{windows}".replace(" ", "_")
        found.append(
            Section(name, _caption(rows), pivot(actions, columns, stated(numbers, rows["status"])))
        )
    return found


def _choices(means: pd.DataFrame, protocol: Protocol) -> dict[str, list[str]]:
    """Return the window names of each choice; only ``all`` if test windows are thinned."""
    index = means[["window", "source", "action"]].drop_duplicates().reset_index(drop=True)
    names = index["window"].to_numpy()
    if protocol.scale.test is not None:
        return {"all": list(names)}
    chosen = protocol.dataset.test_sets(index)
    return {choice: list(names[rows]) for choice, rows in chosen.items()}


def _of_choice(
    protocol: Protocol,
    predictor: str,
    choice: str,
    errors: pd.DataFrame,
    windows: list[str],
    absent: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one predictor for one choice of windows."""
    published = next(
        (t for t in protocol.published if (t.predictor, t.windows) == (predictor, choice)), None
    )
    labels = {"predictor": predictor, "windows": choice, "seeds": int(errors["count"].max())}
    for place, (horizon, group) in enumerate(errors.groupby("horizon_ms", sort=False)):
        rows = group.set_index("window").loc[windows]
        actions = rows.groupby("action", sort=False).agg(
            mean=("mean", "mean"), count=("mean", "size"), recordings=("source", "nunique")
        )
        complete = {action for action in actions.index if not _is_absent(action, absent)}
        row_labels = {
            **labels,
            "horizon_ms": horizon,
            "source": published.source if published else "",
        }
        for action, row in actions.iterrows():
            yield {
                **row_labels,
                "action": action,
                "value": row["mean"],
                "n": int(row["count"]),
                "recordings": int(row["recordings"]),
                "published": _published(published, [str(action)], place),
                "comparable": action in complete,
            }
        for name, chosen in ((AVERAGE, set(actions.index)), (COMPARABLE, complete)):
            if not chosen or (name == COMPARABLE and not absent):
                continue
            stated = AVERAGE if name == AVERAGE else ""
            yield {
                **row_labels,
                "action": name,
                "value": actions["mean"].loc[sorted(chosen)].mean(),
                "n": int(actions["count"].loc[sorted(chosen)].sum()),
                "recordings": rows.loc[rows["action"].isin(chosen), "source"].nunique(),
                "published": _published(published, sorted(chosen), place, stated),
                "comparable": chosen == complete and not (name == AVERAGE and absent),
            }


def _is_absent(action: str, absent: Sequence[str]) -> bool:
    """Return whether a file of an action is absent."""
    return any(action in name.split("/") for name in absent)


def _published(table: Published | None, actions: list[str], place: int, stated: str = "") -> float:
    """Return the mean published error of some actions at the ``place``-th horizon.

    If not all of them are published, return the published average named ``stated``; nan if there is
    none.
    """
    if table is None:
        return np.nan
    errors = [table.mm[action][place] for action in actions if action in table.mm]
    if len(errors) < len(actions):
        errors = [table.mm[stated][place]] if stated in table.mm else []
    known = [error for error in errors if error is not None]
    return float(np.mean(known)) if known and len(known) == len(errors) else np.nan


def _training(fits: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return how each predictor was fitted, averaged over seeds."""
    rows = [
        {
            "predictor": fit["model"],
            "epochs": (fit["last_epoch"] or {}).get("epoch", 0),
            "train_windows": fit["train_windows"],
            "fit_seconds": fit["seconds"],
        }
        for fit in fits
    ]
    columns = ["predictor", "epochs", "train_windows", "fit_seconds"]
    return pd.DataFrame(rows, columns=columns).groupby("predictor", as_index=False).mean()


def _stated(published: float) -> str:
    """Return a published number with the decimals it was published with, one or two."""
    return f"{published:.1f}" if round(published, 1) == published else f"{published:.2f}"


def _caption(rows: pd.DataFrame) -> str:
    """Return the caption of one predictor's section: unit, source, training, absent files."""
    first = rows.iloc[0]
    parts = [f"{first['predictor']}, {first['windows']}: MPJPE by horizon, mm"]
    if first["source"]:
        parts.append(f"in brackets: {first['source']}")
    if first["epochs"] > 0:
        minutes = first["fit_seconds"] / 60
        windows = f"{first['epochs']:.0f} epochs of {first['train_windows']:.0f} windows"
        parts.append(f"fitted for {windows}, {minutes:.0f} min")
    if not rows["comparable"].all():
        parts.append("*: not comparable, files are absent")
    return "; ".join(parts)
