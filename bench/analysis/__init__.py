"""From records to statistics: summaries, tests, ranks, detection, claims, tables as text.

Functions here take and return data frames. They use neither torch nor the store's layout, and draw
nothing.
"""

__all__ = [
    "claim_verdicts",
    "claims",
    "comparable",
    "forecasting",
    "generation",
    "latex",
    "leaderboard",
    "loading",
    "marking",
    "ood",
    "prediction",
    "ranks",
    "records",
    "results",
    "standing",
    "statistics",
    "summary",
    "tables",
]
