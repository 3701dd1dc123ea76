"""How the figures of a report came about, in words."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ragft.artifacts import package_versions
from ragft.data.questions import Question
from ragft.evaluate.metrics import METRICS
from ragft.evaluate.records import Record
from ragft.evaluate.report.overview import clusters_of
from ragft.evaluate.score import Comparison
from ragft.evaluate.verdict import listed

_PACKAGES = ("ragft", "numpy", "scipy")


def measured(comparison: Comparison, records: Sequence[Record], questions: Sequence[Question]) -> list[tuple[str, str]]:
    """Headings with a sentence each: questions, answers, statistics, models, index, versions."""
    facts = [
        ("Questions", _questions(questions)),
        ("Clusters", _clusters(comparison)),
        ("Answers", _answers(comparison, records)),
        ("Intervals", "95 %, over clusters: Wilson's for shares, Bonett and Price's for differences, else Student's"),
        ("Tests", _tests(comparison)),
        ("What decides", f"{comparison.measure.title}, on facts; form is judged apart (evaluate.decides)"),
        ("Best-marks", "A dot marks a setup that is significantly better than every other one, where more is better."),
        ("Seed", f"{comparison.seed}, for the permutations"),
        ("Training", _training(comparison)),
        ("Models", _versions((record.setup, record.model_version) for record in records)),
        ("Index", _versions((record.setup, record.index_version) for record in records if record.index_version)),
        ("Records and questions", _fingerprints(comparison.fingerprints)),
        ("Metrics", _metrics(comparison)),
        ("Versions", _software()),
    ]
    return [(key, value) for key, value in facts if value]


def _questions(questions: Sequence[Question]) -> str:
    counts = {
        "answerable": sum(question.answerable for question in questions),
        "not answerable": sum(not question.answerable for question in questions),
        "about facts that have changed": sum(bool(question.stale_answers) for question in questions),
    }
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return f"{len(questions):,}: {kinds}"


def _clusters(comparison: Comparison) -> str:
    clusters = clusters_of(comparison)
    if clusters is None:
        return ""
    from ragft.console import counted

    count, largest = clusters
    return (
        f"{count:,} of at most {counted(largest, 'question')}: those about one document, or of one group, depend on "
        "each other, so a cluster is taken as a whole"
    )


def _answers(comparison: Comparison, records: Sequence[Record]) -> str:
    failed = {
        setup: sum(record.error is not None for record in records if record.setup == setup)
        for setup in comparison.setups
    }
    told = listed([f"{count} of {setup}" for setup, count in failed.items() if count] or ["none"])
    return (
        f"{len(records):,}, one of every setup to every question; failed: {told}; {comparison.failed:,} could not be "
        "scored by every metric"
    )


def _tests(comparison: Comparison) -> str:
    pairs = len(dict.fromkeys((row["a"], row["b"]) for row in comparison.pairs))
    if not pairs:
        return ""
    corrected = f", with Holm's correction over the {pairs} pairs of each metric" if pairs > 1 else ""
    return (
        "two-sided, paired by question: exact sign-flips of clusters (McNemar's where each question is its own), "
        f"{comparison.resamples:,} permutations where scores are not yes or no{corrected}"
    )


def _training(comparison: Comparison) -> str:
    recipe = comparison.fingerprints.get("recipe")
    return f"by the recipe “{recipe}”" if recipe else ""


def _versions(pairs: Iterable[tuple[str, str | None]]) -> str:
    """`version (setup and setup)` for each version, to show which setups share it."""
    setups: dict[str, list[str]] = {}
    for setup, version in dict.fromkeys(pairs):
        setups.setdefault(str(version or "not stated"), []).append(setup)
    return "; ".join(f"{version} ({listed(names)})" for version, names in setups.items())


def _fingerprints(fingerprints: Mapping[str, Any]) -> str:
    """What identifies the inputs, in words; the recipe has a line of its own."""
    told = []
    for key, value in fingerprints.items():
        if key == "recipe":
            continue
        if isinstance(value, Mapping):
            told += [f"{key} of {part}: {of}" for part, of in value.items()]
        else:
            told.append(f"{key}: {value}")
    return "; ".join(told)


def _metrics(comparison: Comparison) -> str:
    used = {name for metrics in comparison.setups.values() for name, row in metrics.items() if row["n"]}
    return ", ".join(f"{name} {metric.version}" for name, metric in METRICS.items() if name in used)


def _software() -> str:
    packages = ", ".join(f"{name} {version}" for name, version in package_versions(_PACKAGES).items())
    return f"Python {platform.python_version()}, {packages}"
