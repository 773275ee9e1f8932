"""Runs of several subject folds as one: their test windows together, each subject tested once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import records
from bench.analysis.results import Run
from bench.core.errors import InputError
from bench.protocol.schema import Protocol
from bench.report.run_folder import Contents, outcomes
from bench.sweep.jobs import Cell, Fit
from bench.sweep.status import Status

Fold = tuple[int | tuple[int, ...], int]
Numbers = tuple[int, ...]
"""The numbers of the folds that a run is of: one, or several if it was joined; empty without."""


def joint(protocols: Mapping[str, Protocol]) -> Fold | None:
    """Return the fold, or the folds, that some protocols are of together; None without any.

    Args:
        protocols: by the name that error messages give them.

    Raises:
        InputError: some are of a fold and others are not, or their groups of subjects overlap.
    """
    (first, protocol), *others = protocols.items()
    fold, seen = protocol.dataset.fold, {protocol.dataset.folds: first}
    for name, other in others:
        theirs = other.dataset.fold
        if (fold is None) != (theirs is None):
            raise InputError(
                f"{name}: dataset.fold is {_text(theirs)}, but {_text(fold)} in {first}; run all "
                "parts with folds or all without"
            )
        if fold is None or theirs is None:
            continue
        if fold[1] != theirs[1]:
            raise InputError(
                f"{name}: dataset.fold is {_text(theirs)}, but {_text(fold)} in {first}: the test "
                "subjects of different numbers of groups overlap; deal all into as many"
            )
        for numbers, whose in seen.items():
            if numbers != other.dataset.folds and set(numbers) & set(other.dataset.folds):
                raise InputError(
                    f"{name}: its folds {_text(theirs)} are in part in {whose}; join each once"
                )
        seen.setdefault(other.dataset.folds, name)
    if fold is None:
        return None
    numbers = tuple(sorted({number for one in seen for number in one}))
    return (numbers if numbers[1:] else numbers[0], fold[1])


def with_fold(protocol: Protocol, fold: Fold | None) -> Protocol:
    """Return a protocol with another fold."""
    return replace(protocol, dataset=protocol.dataset.model_copy(update={"fold": fold}))


def of_fold(protocol: Protocol, numbers: Numbers) -> Protocol:
    """Return the protocol of some of the folds of a joined one."""
    if protocol.dataset.fold is None:
        return protocol
    return with_fold(protocol, (numbers if numbers[1:] else numbers[0], protocol.dataset.fold[1]))


def join(runs: Mapping[Numbers, Contents], protocol: Protocol) -> Contents:
    """Return runs of different folds as one; a single one as it is.

    A cell is done if it is in every fold; its values are those of all test windows. Otherwise it
    has none, since imputers are compared on the same windows alone. Windows of other data, which
    several folds have, count once per fold, as do drawn ones: they are named after it.

    Args:
        runs: by the numbers of their folds, all with the same jobs in the same order.
        protocol: of the joined run.

    Raises:
        InputError: the folds are of different recordings, or share test recordings or subjects.
    """
    first, *others = runs.values()
    if not others:
        return first
    values = pd.concat([one.run.values for one in runs.values()], ignore_index=True)
    _check_apart(runs, values, protocol)
    jobs = [
        _job(runs, same) for same in zip(*(one.plan.jobs for one in runs.values()), strict=True)
    ]
    statuses = {job.key: status for job, status in jobs}
    ended = [
        records.labels(job)
        for job, status in jobs
        if isinstance(job, Cell) and status.status == "done"
    ]
    label = protocol.labelled(str(first.run.facts["data"]["label"]))
    place = pd.Index(ended).get_indexer(pd.MultiIndex.from_frame(values[records.CELL[1:]]))
    order = np.argsort(place, kind="stable")
    values = values.iloc[order[place[order] >= 0]].reset_index(drop=True)
    values = _named_apart(values.assign(dataset=label), protocol)
    facts = _facts(runs, list(statuses.values()))
    return Contents(Run(protocol, values, facts), first.plan, list(statuses.values()))


def _check_apart(
    runs: Mapping[Numbers, Contents], values: pd.DataFrame, protocol: Protocol
) -> None:
    """Raise InputError unless folds are of the same recordings, each tested in one fold alone."""
    (name, first), *others = runs.items()
    for other, one in others:
        mine, theirs = (run.facts["data"].get("recordings") for run in (first.run, one.run))
        if mine != theirs:
            raise InputError(
                f"fold {_numbers(other)} is of other recordings than fold {_numbers(name)}; run "
                "all folds on the same files"
            )
    own = values[_own(values, protocol)]
    for what, column in (("subject", "subject"), ("recording", "source")):
        known = own.loc[own[column] != "", [column, "fold"]].drop_duplicates()
        for repeated in known.loc[known[column].duplicated(), column]:
            where = " and ".join(known.loc[known[column] == repeated, "fold"])
            raise InputError(
                f"{what} {repeated} is tested in folds {where}; folds must not overlap"
            )


def _own(values: pd.DataFrame, protocol: Protocol) -> "pd.Series[bool]":
    """Return which rows are of windows that their fold alone has."""
    return records.tested(values) & ~values["mechanism"].isin(list(protocol.foreign))


def _named_apart(values: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return values in which windows that several folds have are named after their folds."""
    suffix = " (fold " + values["fold"] + ")"
    named = [name.endswith(end) for name, end in zip(values["window"], suffix, strict=True)]
    kept = _own(values, protocol) | np.array(named, dtype=bool)
    window = values["window"].where(kept, values["window"] + suffix)
    # A drawn window, or a whole set of windows, is its own source.
    alone = values["source"] == values["window"]
    return values.assign(window=window, source=values["source"].where(~alone, window))


def _job(runs: Mapping[Numbers, Contents], same: Sequence[Fit | Cell]) -> tuple[Fit | Cell, Status]:
    """Return a job that every fold has, as the first one has it, and how it ended in all."""
    ended = {}
    for (numbers, one), job in zip(runs.items(), same, strict=True):
        ended[numbers] = next(status for status in one.statuses if status.key == job.key)
    for numbers, status in ended.items():
        if status.status != "done":
            error = f"fold {_numbers(numbers)}: {status.error}"
            return same[0], replace(status, key=same[0].key, error=error)
    first = next(iter(ended.values()))
    memories = [status.memory for status in ended.values()]
    memory = None if None in memories else max(filter(None, memories), default=0.0)
    return same[0], replace(first, seconds=sum(s.seconds for s in ended.values()), memory=memory)


def _facts(runs: Mapping[Numbers, Contents], statuses: list[Status]) -> dict[str, Any]:
    """Return the provenance of joined folds: the first one's, and what differs by fold."""
    facts = {_numbers(numbers): one.run.facts for numbers, one in runs.items()}
    first = next(iter(facts.values()))
    data = {fold: fact["data"] for fold, fact in facts.items()}
    fingerprints = [str(one.get("fingerprint")) for one in data.values()]
    return first | {
        "data": first["data"]
        | {
            "fingerprint": hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:16],
            "windows": {fold: one.get("windows") for fold, one in data.items()},
            "folds": dict(zip(data, fingerprints, strict=True)),
        },
        "fits": {
            name: _fit([fact["fits"][name] for fact in facts.values()])
            for name in first["fits"]
            if all(name in fact["fits"] for fact in facts.values())
        },
        "failures": [vars(outcome) for outcome in outcomes(statuses)],
    }


def _fit(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first fold's summary of a fit; its time and memory are means over folds."""
    costs = pd.DataFrame(summaries).reindex(columns=["seconds", "memory"]).astype(float)
    means = {str(name): None if np.isnan(mean) else mean for name, mean in costs.mean().items()}
    return summaries[0] | means


def _numbers(numbers: Numbers) -> str:
    return ", ".join(map(str, numbers))


def _text(fold: Fold | None) -> str:
    return (
        "null"
        if fold is None
        else str([list(fold[0]) if isinstance(fold[0], tuple) else fold[0], fold[1]])
    )
