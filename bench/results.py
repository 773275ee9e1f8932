"""All that a run found: its per-window values, and the tables made of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bench import ood, tables
from bench.errors import InputError
from bench.protocol import Protocol, resolve

VALUES = "windows.parquet"
PROTOCOL = "protocol.yaml"
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Results:
    """What a run found.

    Attributes:
        protocol: what ran.
        label: the data set, as tables and figures call it.
        values: per-window values (``records.windows``).
        imputation: ``tables.imputation``.
        quality: ``tables.quality``.
        detection: ``ood.detection``.
        levels: ``ood.detection_levels``.
        comparisons: ``tables.comparisons``.
    """

    protocol: Protocol
    label: str
    values: pd.DataFrame
    imputation: pd.DataFrame
    quality: pd.DataFrame
    detection: pd.DataFrame
    levels: pd.DataFrame
    comparisons: pd.DataFrame


def build(
    values: pd.DataFrame, protocol: Protocol, fits: Iterable[dict[str, Any]], label: str
) -> Results:
    """Make every table from per-window values and the summaries of the fits."""
    detection = ood.detection(values)
    return Results(
        protocol=protocol,
        label=label,
        values=values,
        imputation=tables.imputation(values, protocol),
        quality=tables.quality(values, protocol, fits),
        detection=detection,
        levels=ood.detection_levels(detection),
        comparisons=tables.comparisons(values, protocol),
    )


def read(folder: Path) -> Results:
    """Return the results of a run's folder; raises InputError if it is not one."""
    try:
        values = pd.read_parquet(folder / VALUES)
        raw = yaml.safe_load((folder / PROTOCOL).read_text(encoding="utf-8"))
        facts = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        fits, label = facts["fits"].values(), facts["data"]["label"]
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder}: not the folder of a run, such as results/occlusion/latest ({reason})"
        ) from None
    return build(values, resolve(raw), fits, label)


def write(results: Results, folder: Path) -> None:
    """Write every table that has rows, as CSV, Markdown and LaTeX."""
    note, label = tables.note(results.imputation, results.label), results.label
    tables.write(
        results.imputation,
        tables.imputation_sections(results.imputation),
        folder,
        "imputation",
        note,
        label,
    )
    if not results.quality.empty:
        sections = tables.quality_sections(results.quality)
        tables.write(results.quality, sections, folder, "models", note, label)
    if not results.detection.empty:
        sections = tables.ood_sections(results.detection, results.levels)
        tables.write(results.detection, sections, folder, "ood", note, label)
        tables.write(results.levels, sections[-1:], folder, "detection_level", note, label)
    if not results.comparisons.empty:
        sections = tables.comparison_sections(results.comparisons)
        tables.write(results.comparisons, sections, folder, "comparisons", note, label)
