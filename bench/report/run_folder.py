"""Write and read the folder of a run; every command that makes one uses the same function."""

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from bench.analysis import claims, records, results
from bench.analysis.loading import load
from bench.analysis.results import Results, Run
from bench.analysis.standing import standing
from bench.core.errors import InputError
from bench.core.files import draft_folder, remove_stale, rename_unused
from bench.core.processes import ALONE, Beside, beside
from bench.report import figures, page
from bench.sweep import job_table, times
from bench.sweep.plan import Plan
from bench.sweep.status import Status

MANY = 500
"""Cells from which on other processes, which take seconds to start, help to aggregate."""
HELPERS = ("bench.report.figures", "bench.analysis.ood")
"""What such processes import."""


@dataclass(frozen=True)
class Contents:
    """What a run's folder is made from.

    Attributes:
        run: what ran, its per-window values, and its provenance.
        plan: its fits and cells.
        statuses: how each of them ended, one per key.
    """

    run: Run
    plan: Plan
    statuses: list[Status]

    @property
    def outcomes(self) -> list[Status]:
        """The statuses of what failed or was skipped."""
        return outcomes(self.statuses)

    @property
    def label(self) -> str:
        """The data set as named in tables and figures."""
        return self.run.protocol.labelled(str(self.run.facts["data"]["label"]))


def read(folder: Path) -> Contents:
    """Read what a run's folder was made from; raises InputError if it is not one."""
    run = results.open_run(folder)
    plan, statuses = job_table.read(folder)
    ended = {status.key: status for status in statuses}
    try:
        # Only the provenance has tracebacks.
        ended |= {one["key"]: Status(**one) for one in run.facts["failures"] if one["key"] in ended}
    except (LookupError, TypeError) as error:
        raise InputError(f"{folder / results.PROVENANCE}: malformed failures ({error})") from None
    return Contents(run, plan, list(ended.values()))


def outcomes(statuses: list[Status]) -> list[Status]:
    """Return the statuses of what failed or was skipped."""
    return [status for status in statuses if status.status in ("failed", "skipped")]


def write(
    contents: Contents,
    results_folder: Path,
    draw: Callable[[Path], object],
    stage: Callable[[str], None] = lambda _: None,
) -> tuple[Path, Results]:
    """Write a run's folder atomically, and point ``latest`` at it.

    Args:
        contents: what to write.
        results_folder: the folder of the runs of all protocols.
        draw: writes the pictures of motion into a given folder.
        stage: is called with what is being done.

    Returns:
        The folder and the tables in it.

    Raises:
        WriteError: the file system refuses it.
    """
    many = len(contents.plan.cells) >= MANY
    with draft_folder(results_folder / contents.run.protocol.folder) as draft:
        with beside(HELPERS) if many else nullcontext(ALONE) as others:
            found = _fill(contents, draft, draw, stage, others)
        # What a process that was killed had begun to write.
        remove_stale(draft)
        folder = rename_unused(draft, datetime.now(UTC).strftime("%Y%m%d-%H%M%S"))
    _point_latest(folder)
    return folder, found


def _fill(
    contents: Contents,
    draft: Path,
    draw: Callable[[Path], object],
    stage: Callable[[str], None],
    others: Beside,
) -> Results:
    """Write all files of a run; return its tables."""
    run, label = contents.run, contents.label
    protocol = run.protocol
    stage("records")
    cells = records.records(
        run.values, contents.plan, contents.statuses, label, protocol.references
    )
    stage("tables")
    timed = times.table(contents.plan, contents.statuses, run.facts["fits"], label)
    found = results.of(run, cells, timed, others)
    resolved = yaml.safe_dump(protocol.to_dict(), sort_keys=False, allow_unicode=True)
    (draft / results.PROTOCOL).write_text(resolved, encoding="utf-8")
    (draft / results.PROVENANCE).write_text(json.dumps(run.facts, indent=1), encoding="utf-8")
    cells.to_parquet(draft / results.RECORDS, index=False)
    timed.to_csv(draft / times.TIMES, index=False)
    stage("standing of the imputers")
    stood = standing(load(draft), protocol, run.values)
    drawn = figures.begin_all(found, draft, stood, others)
    stage("files of the tables")
    results.write_values(run.values, draft)
    results.write(found, draft)
    judged = claims.write(found, draft) if protocol.models else []
    job_table.write(contents.plan, contents.statuses, draft, label)
    stage("pictures of motion")
    draw(draft)
    stage("figures")
    drawn()
    stage("page")
    to = draft / page.REPORT
    page.write(run, found, judged, contents.outcomes, draft, stood, draft, to)
    return found


def _point_latest(folder: Path) -> None:
    """Make the link ``latest`` next to a run point to it, atomically."""
    link = folder.parent / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")
