"""The report page of a run: all its results in one self-contained HTML file.

Names of files, actions and models and error texts come from outside: the template escapes all of
them. The page makes no request, and runs no script but its own two, which its policy names by hash.
"""

import base64
import hashlib
import html
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.analysis import forecasting, results, summary, tables
from bench.analysis.claims import Claim
from bench.analysis.records import CONDITION, IMPUTER
from bench.analysis.results import Results, Run, Written
from bench.analysis.standing import Standing
from bench.core.files import atomic_file
from bench.protocol.schema import Protocol
from bench.report import exhibition
from bench.report.figures import FIGURES
from bench.sweep.status import Status

REPORT = "report.html"
VIEWER = "viewer.html"
SCRIPTS = ("tables.js", "viewer.js")
PICTURES = ("fig1_", "fig3_")
"""The beginnings of the files of drawn motion."""
HEROES = 4
"""Most generative models whose skill the first table shows."""
CAPTIONS = {
    "fig1_": "the test window of median error, mean-imputed and completed; dotted: ground truth",
    "fig3_": "the first window drawn of each action",
    "skill": "skill by level: 1 is perfect, 0 as good as the reference; equal distances are equal "
    "ratios of errors, with 95 % intervals",
    "mechanisms": "skill of each imputer for each mechanism; green is better than the reference",
    "durations": "error of hidden joints by how long they are hidden, with 95 % intervals",
    "pareto": "error against the time of imputing and measuring; the line joins those that no "
    "other beats in both",
    "calibration": "how often the truth lies in an imputer's central intervals; below the diagonal "
    "it is too sure",
    "ranks": "mean ranks; a bar joins imputers that do not differ significantly (Nemenyi's test)",
    "fig4_": "log posterior of ground truth, degraded input and completion, by share hidden",
    "fig5_": "change of the mean log posterior against ground truth; hollow points are negative",
    "fig6_": "change of MSE against mean imputation, with 95 % intervals",
    "predictors": "error of each predictor against standing still",
    "fig7_": "error of each predictor by the imputer that completed its past",
    "forecasting_change": "change of each predictor's error against the mean-imputed past, with "
    "95 % intervals",
    "auroc": "how well each score distinguishes degraded from clean windows, with 95 % intervals",
    "comparisons": "change of MSE of one imputer against another",
}
"""Captions of figures, by the beginning of their file names, in the order of the page."""


@dataclass(frozen=True)
class Figure:
    """A figure on the page.

    Attributes:
        name: of its files, without a suffix.
        caption: what it shows.
        drawing: an SVG element, or an image element.
    """

    name: str
    caption: str
    drawing: Markup


def write(
    run: Run,
    found: Results,
    judged: Sequence[Claim],
    outcomes: Sequence[Status],
    folder: Path,
    standing: Standing | None,
    drawn: Path,
    to: Path,
) -> Path:
    """Write the report of a run, and return its path.

    Args:
        run: what ran, and its provenance.
        found: its tables.
        judged: the paper's claims.
        outcomes: the status of each fit and cell that failed or was skipped.
        folder: of the run, with its protocol and motion.
        standing: of its imputers, if they can be compared.
        drawn: the folder of the figures.
        to: the file to write.
    """
    whole = summary.by_mechanism(found.imputation, found.protocol)
    page = _render(
        REPORT,
        exhibition.read(folder),
        run=run,
        found=found,
        counts=_counts(run, found),
        alarms=list(_alarms(found, whole)),
        best=_best(standing, found.protocol),
        standing=standing,
        claims=judged,
        tables=[_Table(one, _reasons(outcomes)) for one in results.written(found)],
        figures=_figures(drawn, folder),
        outcomes=outcomes,
        facts=[(name, value) for name, value in _facts(run) if value],
        command=shlex.join(run.facts.get("command", [])),
        again=_again(run),
        protocol=(folder / results.PROTOCOL).read_text(encoding="utf-8"),
        beside=_beside(folder, to),
    )
    with atomic_file(to) as draft:
        draft.write_text(page, encoding="utf-8")
    return to


BESIDE = (".csv", ".md", ".tex", ".pdf", ".svg", ".parquet", ".yaml", ".json", ".txt")
"""Suffixes of the files of a run that the page links to."""


def write_viewer(
    motion: exhibition.Motion,
    title: str,
    notes: Sequence[str],
    path: Path,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write a page that shows motion, and below it tables by their titles."""
    page = _render(VIEWER, motion, title=title, notes=notes, tables=tables or {})
    with atomic_file(path) as draft:
        draft.write_text(page, encoding="utf-8")


def _render(template: str, motion: exhibition.Motion | None, **parts: Any) -> str:
    environment = Environment(
        loader=PackageLoader("bench.report"), autoescape=True, undefined=StrictUndefined
    )
    scripts = {name: _asset(name) for name in SCRIPTS}
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in scripts.values()
    ]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return environment.get_template(template).render(
        policy="default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'unsafe-inline'; script-src {allowed}",
        style=Markup(_asset("report.css")),
        scripts=[Markup(text) for text in scripts.values()],
        motion=None if motion is None else _json(motion),
        **parts,
    )


def _beside(folder: Path, page: Path) -> list[str]:
    """Return the names of a run's files, if the page is among them."""
    if page.parent.resolve() != folder.resolve():
        return []
    return sorted(one.name for one in folder.iterdir() if one.suffix in BESIDE)


def _asset(name: str) -> str:
    return files("bench.report").joinpath("templates", name).read_text(encoding="utf-8")


def _json(value: Any) -> Markup:
    """Return JSON that cannot end the script element that it is in."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def _counts(run: Run, found: Results) -> list[tuple[str, str]]:
    """Return the numbers of the first screen, each with what it counts."""
    rows = found.imputation
    counts = {}
    if len(rows):
        counted = tables.unit_of(rows)
        counts = {"test windows": int(rows["n"].max()), counted: int(rows[counted].max())}
        counts["imputers"] = len(rows.drop_duplicates(IMPUTER))
        counts["conditions"] = len(rows.drop_duplicates(CONDITION))
    counts["seeds"] = len(run.protocol.seeds)
    counts["controls"] = sum(entry.cls.control for entry in run.protocol.models.values())
    return [(name, f"{count:,}") for name, count in counts.items()]


def _alarms(found: Results, whole: pd.DataFrame) -> Iterator[str]:
    """Yield why the numbers are worth less than they look."""
    if found.protocol.limit:
        yield (
            f"Smoke run, limit {found.protocol.limit}: not a result. Models were fitted for two "
            "epochs on a few windows."
        )
    if not whole.empty:
        yield from (f"A control looks good: {line}" for line in summary.suspicious(whole))
    for predictor in forecasting.idle(found.forecasting):
        yield f"Predictor {predictor} {forecasting.IDLE}"


def _best(standing: Standing | None, protocol: Protocol) -> list[dict[str, Any]]:
    """Return, per mechanism, the best imputer, the generative models and the best control."""
    if standing is None:
        return []
    table, heroes = standing.by_mechanism, tables.contenders(protocol)
    rows = []
    for mechanism, part in table.groupby("mechanism", sort=False):
        control = part["control"].astype(bool)
        mine = part[part["model"].isin(heroes)].drop_duplicates("model").head(HEROES)
        rows.append(
            {
                "mechanism": mechanism,
                "levels": int(part["conditions"].max()),
                "best": _skills(part[~control].head(1)),
                "heroes": _skills(mine),
                "control": _skills(part[control].head(1)),
            }
        )
    return rows


def _skills(part: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the name and the skill of imputers as text."""
    names = tables.named(part["model"], part["inference"])
    numbers = part[["skill", "skill_low", "skill_high"]].to_numpy()
    return [
        (name, tables.interval(*row)) for name, row in zip(names, numbers.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class _Column:
    """A column of a table, and the condition that it is of."""

    text: str
    mechanism: str
    level: str


@dataclass(frozen=True)
class _Entry:
    """A cell of a table: its value, what follows it, a status, and why it failed."""

    value: str
    rest: str
    status: str
    reason: str
    number: str


class _Table:
    """A table of a run as the page shows it."""

    def __init__(self, one: Written, reasons: Mapping[str, str]) -> None:
        self.name, self.title, self.note, self.sections = one.name, one.title, one.note, []
        known = {}
        if {"mechanism", "level"} <= set(one.table):
            pairs = one.table[["mechanism", "level"]].drop_duplicates().astype(str)
            known = {f"{m} {level}".strip(): (m, level) for m, level in pairs.to_numpy()}
        used: set[tuple[str, str]] = set()
        for section in one.sections:
            columns = [_Column(str(c), *known.get(str(c), ("", ""))) for c in section.text]
            used |= {(column.mechanism, column.level) for column in columns}
            rows = [
                (str(name), [_entry(cell, str(name), columns[n], reasons) for n, cell in cells])
                for name, cells in _rows(section.text)
            ]
            self.sections.append((section.name, section.caption, columns, rows))
        self.mechanisms = list(dict.fromkeys(m for m, _ in known.values() if m in dict(used)))
        self.levels = list(dict.fromkeys(v for m, v in known.values() if v and (m, v) in used))


def _rows(text: pd.DataFrame) -> Iterator[tuple[Any, list[tuple[int, str]]]]:
    for row in text.itertuples(name=None):
        yield row[0], list(enumerate(map(str, row[1:])))


def _entry(text: str, row: str, column: _Column, reasons: Mapping[str, str]) -> _Entry:
    value, bracket, rest = text.partition(" [")
    status = next((word for word in ("failed", "skipped") if word in text), "")
    where = " ".join([re.sub(r"[()]", "", row), column.text])
    number = re.match(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", value)
    return _Entry(
        value,
        bracket + rest,
        status,
        reasons.get(where, "the section Failures says why") if status else "",
        number.group() if number else "",
    )


def _reasons(outcomes: Sequence[Status]) -> dict[str, str]:
    """Return why jobs failed or were skipped, by their titles without the seed."""
    return {re.sub(r" seed \d+$", "", one.title): one.error for one in outcomes}


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
    fits = facts.get("fits", {}).values()
    reduced = dict.fromkeys(fit["model"] for fit in fits if fit.get("precision") == "bf16")
    yield "fitted with bf16 products", ", ".join(reduced)
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
    own = (f"--plugin {shlex.quote(name)}" for name in run.facts.get("plugins") or ())
    parts = [
        "python -m bench run protocol.yaml",
        *own,
        *([] if synthetic else ["--data-root DIR"]),
    ]
    checkout = [f"git checkout {commit.removesuffix('-dirty')}"] if isinstance(commit, str) else []
    return "\n".join([*checkout, "pip install -e .", " ".join(parts)])


def _figures(drawn: Path, folder: Path) -> list[Figure]:
    """Return the figures of a run in the order of their captions, then the rest.

    Args:
        drawn: the folder of those that the harness drew, as SVG.
        folder: that of pictures of motion.
    """
    paths = [drawn / f"{name}.svg" for name in FIGURES]
    paths += [path for start in PICTURES for path in folder.glob(f"{start}*.png")]
    order = list(CAPTIONS)
    found = []
    for path in filter(Path.is_file, paths):
        known = next(start for start in order if path.stem.startswith(start))
        caption = CAPTIONS[known]
        place = order.index(known), path.stem
        found.append((place, Figure(path.stem, caption, _drawing(path, caption))))
    return [figure for _, figure in sorted(found, key=lambda one: one[0])]


def _rounded(places: re.Match[str]) -> str:
    """Return coordinates to a hundredth of a point."""
    return re.sub(r"(\.\d\d)\d+", r"\1", places.group())


def _drawing(path: Path, caption: str) -> Markup:
    """Return a figure as an element, an SVG or an image."""
    label = f"{path.stem}: {caption}"
    if path.suffix == ".svg":
        text = path.read_text(encoding="utf-8")
        text = text[max(0, text.find("<svg")) :]
        # Names of parts must differ between the figures of a page.
        text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{path.stem}-", text)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'\b(?:d|x|y)="[^"]*"', _rounded, text)
        text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
        return Markup(text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1))
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(label, data)
