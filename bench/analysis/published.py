"""The published table: errors of completed motion next to published ones."""

import pandas as pd

from bench.analysis import records
from bench.analysis.tables import Section, caption, conditions, named, number, pivot, wide
from bench.protocol.schema import Protocol

ENTRY = ["imputer", "source", "mechanism", "metric"]
COLUMNS = [*ENTRY, "level", *records.IMPUTER, *records.SUMMARY, "published", "status"]


def table(imputation: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the rows of the imputation table that published errors belong to.

    Args:
        imputation: ``tables.imputation``, marked.
        protocol: what ran.

    Returns:
        ``COLUMNS``: for each published imputer and level, the errors of all models, and in
        ``published`` its own, in the unit of ``metric``.
    """
    found = []
    for entry in protocol.published_imputation:
        errors = entry.errors
        rows = imputation[
            (imputation["mechanism"] == entry.occlusion)
            & (imputation["metric"] == entry.metric)
            & imputation["level"].isin(list(errors))
        ]
        stated = rows["level"].map(errors)
        found.append(rows.assign(imputer=entry.imputer, source=entry.source, published=stated))
    whole = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)
    return whole.reindex(columns=COLUMNS)


def sections(table: pd.DataFrame) -> list[Section]:
    """Return a section per published imputer: its errors first, then a row per model."""
    found = []
    for place, ((imputer, source, _, metric), rows) in enumerate(table.groupby(ENTRY, sort=False)):
        columns = conditions(rows)
        ours = wide(rows, named(rows["model"], rows["inference"]), columns)
        theirs = rows.assign(column=columns).drop_duplicates("column")
        names = [f"{imputer}, published"] * len(theirs)
        text = pivot(names, theirs["column"], [number(error) for error in theirs["published"]])
        title = f"{caption(str(metric))}; published: {source}"
        found.append(Section(f"published_{place + 1}", title, pd.concat([text, ours])))
    return found
