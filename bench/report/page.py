"""The report page of a run: all its results in one self-contained HTML file.

Names of files, actions and models and error texts come from outside: the template escapes all of
them.
"""

import base64
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.analysis import claims, results
from bench.analysis.results import Results, Run
from bench.core.files import atomic_file
from bench.sweep.status import Status

REPORT = "report.html"
CAPTIONS = {
    "fig1_": "the test window of median error, mean-imputed and completed; dotted: ground truth",
    "fig3_": "the first window drawn of each action",
    "fig4_": "log posterior of ground truth, degraded input and completion, by share hidden",
    "fig5_": "change of the mean log posterior against ground truth; triangles are negative",
    "fig6_": "change of MSE against mean imputation, with 95 % intervals",
    "fig7_": "error of each predictor by the imputer that completed its past",
    "forecasting_change": "change of each predictor's error against the mean-imputed past, with "
    "95 % intervals",
    "auroc": "how well each score distinguishes degraded from clean windows, with 95 % intervals",
    "comparisons": "change of MSE of one imputer against another",
    "ranks": "mean ranks; a bar joins imputers that do not differ significantly (Nemenyi's test)",
}
"""Captions of figures, by the beginning of their file names, in the order of the page."""


@dataclass(frozen=True)
class Figure:
    """A figure on the page.

    Attributes:
        name: of its file, without the suffix.
        caption: what it shows.
        data: the PNG file in base64.
    """

    name: str
    caption: str
    data: str


def write(run: Run, found: Results, outcomes: list[Status], folder: Path) -> None:
    """Write ``report.html`` to a run's folder, with the figures in it.

    Args:
        run: what ran, and its provenance.
        found: its tables.
        outcomes: the status of each fit and cell that failed or was skipped.
        folder: the run's folder, with its protocol and figures.
    """
    environment = Environment(
        loader=PackageLoader("bench.report"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template(REPORT).render(
        run=run,
        label=found.label,
        basis=found.basis,
        facts=[(name, value) for name, value in _facts(run) if value],
        claims=claims.claims(found) if run.protocol.models else [],
        tables=results.written(found),
        figures=_figures(folder),
        outcomes=outcomes,
        command=shlex.join(run.facts.get("command", [])),
        again=_again(run),
        protocol=(folder / results.PROTOCOL).read_text(encoding="utf-8"),
    )
    with atomic_file(folder / REPORT) as draft:
        draft.write_text(page, encoding="utf-8")


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield name and value of each fact about the run; the value is empty if unknown."""
    facts, data = run.facts, run.facts["data"]
    yield "data", run.protocol.labelled(str(data["label"]))
    yield "synthetic", "yes" if data.get("synthetic") else "no"
    windows = data.get("windows", {})
    yield "windows", ", ".join(f"{split} {count}" for split, count in windows.items())
    yield "fingerprint of the data", str(data.get("fingerprint", ""))
    yield "seeds", ", ".join(map(str, run.protocol.seeds))
    yield "models", ", ".join(run.protocol.models)
    yield "predictors", ", ".join(run.protocol.predictors)
    yield "commit", _listed(facts.get("commit") or "unknown")
    yield "time", str(facts.get("time", ""))
    yield "executor", _listed(facts.get("executor", ""))
    for name in ("hardware", "versions", "plugins"):
        value = facts.get(name) or {}
        # A merged run whose parts differ has a list of their values.
        parts = value if isinstance(value, list) else [value]
        yield (
            name,
            "; ".join(", ".join(f"{k}: {_listed(v)}" for k, v in one.items()) for one in parts),
        )


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _again(run: Run) -> str:
    """Return the commands that reproduce the run."""
    commit = run.facts.get("commit")
    synthetic = run.facts["data"].get("synthetic")
    files = (f"--plugin {shlex.quote(name)}" for name in run.facts.get("plugins") or ())
    parts = [
        "python -m bench run protocol.yaml",
        *files,
        *([] if synthetic else ["--data-root DIR"]),
    ]
    checkout = [f"git checkout {commit.removesuffix('-dirty')}"] if isinstance(commit, str) else []
    return "\n".join([*checkout, "pip install -e .", " ".join(parts)])


def _figures(folder: Path) -> list[Figure]:
    """Return the PNG files of a folder: those with a caption in that order, then the rest."""
    order = list(CAPTIONS)
    found = []
    for path in sorted(folder.glob("*.png")):
        known = next((start for start in order if path.stem.startswith(start)), "")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        place = order.index(known) if known else len(order)
        found.append((place, Figure(path.stem, CAPTIONS.get(known, ""), data)))
    return [figure for _, figure in sorted(found, key=lambda one: one[0])]
