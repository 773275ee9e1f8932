"""From records to statistics: summaries, tests, ranks, detection, claims, tables as text.

In: data frames in, data frames out. Never in: torch, the store's layout, or drawing.
"""

__all__ = [
    "claims",
    "forecasting",
    "generation",
    "marking",
    "ood",
    "prediction",
    "ranks",
    "records",
    "results",
    "statistics",
    "tables",
]
