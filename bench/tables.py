"""Tables of a run: tidy CSV to compute with, Markdown and LaTeX to read."""

from pathlib import Path

import numpy as np
import pandas as pd

from bench import records
from bench.files import atomic_file

IMPUTATION_METRICS = ("mse", "mpjpe", *(f"change_vs_{name}" for name in records.REFERENCES))
CAPTIONS = {
    "mse": "Mean squared error over hidden features, mm²",
    "mpjpe": "Mean per joint position error over joints with something hidden, mm",
    "change_vs_mean": "Change of MSE against mean imputation, per cent (negative is better)",
    "change_vs_linear": "Change of MSE against linear interpolation, per cent (negative is better)",
}


def imputation(values: pd.DataFrame) -> pd.DataFrame:
    """Return the imputation table from per-window values.

    One row per imputer, mechanism, level and metric, seeds taken together.
    """
    table = records.summarise(values, ["model", "inference", "mechanism", "level"])
    return table[table["metric"].isin(IMPUTATION_METRICS)].reset_index(drop=True)


def readable(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one metric as text: a row per imputer, a column per mechanism and level."""
    chosen = table[table["metric"] == metric].copy()
    chosen["imputer"] = [
        f"{model} ({inference})" if inference else model
        for model, inference in zip(chosen["model"], chosen["inference"], strict=True)
    ]
    chosen["text"] = [
        _text(*row) for row in chosen[["value", "low", "high"]].itertuples(index=False)
    ]
    columns = (chosen["mechanism"] + " " + chosen["level"]).unique()
    chosen["column"] = chosen["mechanism"] + " " + chosen["level"]
    wide = chosen.pivot(index="imputer", columns="column", values="text")
    return wide.loc[chosen["imputer"].unique(), columns].fillna("")


def write_imputation(table: pd.DataFrame, folder: Path, label: str) -> None:
    """Write ``imputation.csv``, ``.md`` and ``.tex``."""
    with atomic_file(folder / "imputation.csv") as draft:
        table.assign(dataset=label).to_csv(draft, index=False, lineterminator="\n")
    metrics = [metric for metric in IMPUTATION_METRICS if metric in set(table["metric"])]
    count = "no cell was finished"
    if not table.empty:
        count = f"{table['n'].max()} windows, {table['seeds'].max()} seed(s)"
    note = f"Data: {label}; {count}; in brackets the 95 % interval over recordings."
    markdown, latex = [f"# Imputation\n\n{note}\n"], []
    for metric in metrics:
        text = readable(table, metric)
        text.columns.name = text.index.name = None
        markdown.append(f"## {CAPTIONS[metric]}\n\n{text.to_markdown()}\n")
        caption = _tex(f"{CAPTIONS[metric]}. {note}")
        latex.append(text.to_latex(caption=caption, label=f"tab:{metric}", escape=True))
    with atomic_file(folder / "imputation.md") as draft:
        draft.write_text("\n".join(markdown), encoding="utf-8")
    with atomic_file(folder / "imputation.tex") as draft:
        draft.write_text("\n".join(latex), encoding="utf-8")


def _tex(text: str) -> str:
    """Escape what captions have of LaTeX's special characters."""
    return text.replace("%", r"\%").replace("_", r"\_").replace("²", r"\textsuperscript{2}")


def _text(value: float, low: float, high: float) -> str:
    if np.isnan(low):
        return _number(value)
    return f"{_number(value)} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    """Return three significant digits, or whole numbers from 100 on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
