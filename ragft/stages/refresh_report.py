"""A refresh in words, for the terminal, and as values, for `--json` and the endpoint."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from index.refresh.estimate import Estimate
from index.refresh.refresh import RefreshReport
from ragft.console import counted, duration

_MARKS = {"added": "+", "changed": "~", "removed": "-", "kept": "!"}
_SHOWN = 20


def counts_of(report: RefreshReport) -> dict[str, int]:
    """How many documents and passages a refresh touched, or would."""
    plan = report.plan
    counts = {key: len(getattr(plan, key)) for key in ("added", "changed", "removed", "kept")}
    return {
        **counts,
        "unchanged": plan.unchanged,
        "chunks_to_embed": plan.chunks_to_embed,
        "chunks_reused": plan.chunks_reused,
    }


def outcome_of(report: RefreshReport) -> dict[str, Any]:
    """Whether a refresh was published, what the gate said; on a dry run, how long it would take."""
    values: dict[str, Any] = {
        "published": report.published,
        "held": report.held,
        "pruned": list(report.pruned),
        "gate": asdict(report.verdict) if report.verdict else None,
        "mostly_unknown": dict(report.unknown),
    }
    if report.estimate is not None:
        values |= {
            "estimated_seconds": report.estimate.seconds,
            "characters_per_second": report.estimate.characters_per_second,
            "estimate_basis": report.estimate.basis,
            "refusal": report.refusal,
            "documents": {key: getattr(report.plan, key) for key in _MARKS},
            "pages_to_recognise": report.scanned,
            "estimated_recognition_seconds": report.scanned_seconds,
        }
    return values


def remarks_on(report: RefreshReport) -> list[str]:
    """What a person must hear beside the result: files that were not read, passages that the encoder does not
    understand, and what the gate remarked."""
    return [
        *(f"Skipped {item.path}: {item.reason}" for item in report.skipped),
        *(f"Kept the old version of {item.path}, because its file was not read: {item.reason}" for item in report.kept),
        *(
            f"{name}: {counted(count, 'new passage')} mostly of words that the encoder does not know, so that dense "
            "search hardly finds them: choose an encoder of this language (index.encoder.model)"
            for name, count in report.unknown.items()
        ),
        *(report.verdict.remarks if report.verdict else ()),
    ]


def document_lines(report: RefreshReport) -> list[str]:
    """The documents that a refresh would touch, one a line; of many of one kind the first few, and how many more."""
    lines = []
    for key, mark in _MARKS.items():
        names = getattr(report.plan, key)
        lines += [f"{mark} {name}" for name in names[:_SHOWN]]
        lines += [f"{mark} and {len(names) - _SHOWN} more {key}"] if len(names) > _SHOWN else []
    return lines


def plan_line(report: RefreshReport) -> str:
    """The counts of a refresh in one line."""
    counts = counts_of(report)
    kept = f", {counts['kept']} kept in their old version" if counts["kept"] else ""
    return (
        f"{documents_counted(*(counts[key] for key in ('added', 'changed', 'removed', 'unchanged')))}{kept}; "
        f"{counted(counts['chunks_to_embed'], 'passage')} to encode, {counts['chunks_reused']} reused; "
        f"{len(report.skipped)} skipped"
    )


def documents_counted(added: int, changed: int, removed: int, unchanged: int) -> str:
    """How many documents are new, other, gone and the same."""
    return f"{counted(added, 'document')} added, {changed} changed, {removed} removed, {unchanged} unchanged"


def estimate_line(found: Estimate) -> str:
    """How long encoding will take."""
    if not found.characters_per_second:
        return "Nothing to encode"
    basis = "as in the last refresh here" if found.basis == "last refresh" else "measured on a few of the passages"
    return f"Encoding will take {duration(found.seconds)}: {found.characters_per_second:,.0f} characters/s, {basis}"


def held_sentence(report: RefreshReport) -> str:
    """Why a snapshot is held back, and the two ways on."""
    if report.verdict is None:
        raise ValueError("no gate was asked")
    lost = "".join(f" {detail}" for detail in report.verdict.details)
    return (
        f"Snapshot {report.snapshot_id} is held back by the gate; what was live stays live. {report.verdict.summary}"
        f"{lost} Correct the documents or the golden questions and refresh again, or make it live as it is with "
        f"`ragft index publish {report.snapshot_id}`."
    )
