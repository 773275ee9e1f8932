"""A benchmark harness comparing generative imputers of human motion.

Five names for notebooks, each loaded when it is first used: ``load`` the records of runs, ``run`` a
protocol, compare imputers in a ``leaderboard`` or ``pairwise``, and ``plot`` them. All but ``run``
do without torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["leaderboard", "load", "pairwise", "plot", "run"]

_MODULES = {
    "leaderboard": "bench.analysis.leaderboard",
    "load": "bench.analysis.loading",
    "pairwise": "bench.analysis.leaderboard",
    "plot": "bench.report.leaderboard",
    "run": "bench.commands.notebook",
}


def __getattr__(name: str) -> Any:
    """Return one of the names for notebooks (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
