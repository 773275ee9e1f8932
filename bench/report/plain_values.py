"""Results as plain values, for programs: what ``--json`` prints, by the schemas in docs/schemas."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row per row of a table; nan and infinities are None, since JSON has neither."""
    return [
        {str(name): _plain(value) for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def tables(printed: Iterable[Table]) -> dict[str, Any]:
    """Return printed tables as plain values: a title, and rows of text by column."""
    return {
        "tables": [
            {
                "title": _text(table.title),
                "rows": [
                    dict(zip([_text(one.header) for one in table.columns], cells, strict=True))
                    for cells in zip(
                        *([_text(cell) for cell in one.cells] for one in table.columns), strict=True
                    )
                ],
            }
            for table in printed
        ]
    }


def _text(cell: Any) -> str:
    """Return a cell without its markup."""
    return Text.from_markup(cell).plain if isinstance(cell, str) else str(cell or "")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return None if value is pd.NA else value
