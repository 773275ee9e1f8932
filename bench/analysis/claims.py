"""The HG-VAE paper's claims, each tested on a run: paper's figure, ours, a verdict, a control."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.analysis.claim_verdicts import (
    Claim,
    Roles,
    actions_verdict,
    audit_verdict,
    detection_verdict,
    drawn_verdict,
    error_verdict,
    forecasting_verdict,
    log_log_verdict,
    order_verdict,
)
from bench.analysis.results import Results
from bench.core.files import atomic_file
from bench.protocol.schema import Protocol
from models.inference.map import Map


def claims(results: Results) -> list[Claim]:
    """Return the claims (a) to (f), some in two parts, with the run's verdict on each.

    A claim is ``not tested`` if the run lacks what it is about.
    """
    roles, results = _roles(results.protocol), results.with_values
    tests = [
        error_verdict,
        audit_verdict,
        detection_verdict,
        order_verdict,
        log_log_verdict,
        forecasting_verdict,
        actions_verdict,
        drawn_verdict,
    ]
    judged = [test(results, roles) for test in tests]
    if results.protocol.limit:
        judged = [
            replace(claim, verdict="withheld") if claim.verdict != "not tested" else claim
            for claim in judged
        ]
    return judged


def table(judged: list[Claim]) -> pd.DataFrame:
    """Return claims as a table, one row each."""
    return pd.DataFrame([vars(claim) for claim in judged])


def write(results: Results, folder: Path) -> list[Claim]:
    """Write ``claims.csv`` and ``claims.md`` of results into a folder; return the claims."""
    judged = claims(results)
    rows = table(judged)
    stamped = rows.assign(dataset=results.label, **results.counts)
    with atomic_file(folder / "claims.csv") as draft:
        stamped.to_csv(draft, index=False, lineterminator="\n")
    with atomic_file(folder / "claims.md") as draft:
        note = f"# The paper's claims\n\nData: {results.basis}."
        draft.write_text(f"{note}\n\n{rows.to_markdown(index=False)}\n", encoding="utf-8")
    return judged


def _roles(protocol: Protocol) -> Roles:
    def first(name: str) -> str | None:
        labels = (label for label, entry in protocol.models.items() if entry.model == name)
        return next((label for label in labels if not protocol.models[label].train_on), None)

    inference = next(
        (label for label, entry in protocol.inference.items() if _is_papers_map(entry)), None
    )
    mechanism = next(
        (label for label, entry in protocol.occlusion.items() if entry.mechanism == "features"),
        None,
    )
    controls = tuple(label for label, entry in protocol.models.items() if entry.cls.control)
    return Roles(first("hgvae"), first("vae"), controls, inference, mechanism)


def _is_papers_map(inference: object) -> bool:
    return isinstance(inference, Map) and inference in (
        Map(steps=10, batch=inference.batch),
        Map(steps=10, rate=1.0, batch=inference.batch),
    )
