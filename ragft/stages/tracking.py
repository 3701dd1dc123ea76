"""An evaluation told to a tracker: its figures with their intervals, the verdict, and the report.

What is told is decided here and no figure beyond it: no question, answer or passage, and no path, unless
`evaluate.track_answers` hands over the whole report.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragft.artifacts import Artifact
from ragft.data.questions import Question
from ragft.evaluate.arms import with_arms
from ragft.evaluate.records import Record
from ragft.evaluate.report import render_report
from ragft.evaluate.score import Comparison
from ragft.finetune.track import Told, Tracking
from ragft.stages.application import Application

ABOUT = ("name", "decides", "questions", "clusters", "seed", "recipe", "verdict")
_OF_SETUP, _OF_PAIR = ("mean", "low", "high", "n"), ("difference", "low", "high", "p_holm", "n")
_OTHER = re.compile(r"[^\w .:-]", re.ASCII)
TOLD = Told(ABOUT, lambda key: key.rpartition("/")[2] in {*_OF_SETUP, *_OF_PAIR}, "evaluate.tracker", "the evaluation")


def track(app: Application, artifact: Artifact, questions: Sequence[Question], answers: Sequence[Record]) -> None:
    """Tells `evaluate.tracker` of an evaluation, in a run with its fingerprint; a failing tracker is named, no more."""
    config = app.config
    comparison = Comparison.from_json(json.loads((artifact.folder / "comparison.json").read_text(encoding="utf-8")))
    tracking = Tracking(
        config.evaluate.tracker, app.workspace / "tracking", artifact.fingerprint, app.reporter.say, TOLD
    )
    tracking.start({
        "name": config.name, "decides": comparison.measure.name, "questions": comparison.questions,
        "clusters": comparison.clusters.get("count"), "seed": comparison.seed,
        "recipe": comparison.fingerprints.get("recipe"), "verdict": comparison.verdict["text"],
    })  # fmt: skip
    tracking.log(0, dict(_figures(with_arms(comparison))))
    if config.evaluate.track_answers:
        tracking.artefact(artifact.folder / "report.html")
    else:
        # An error may quote what was asked.
        untold = [record if record.error is None else replace(record, error="not told here") for record in answers]
        page = render_report(comparison, untold, questions, name=config.name, subtitle="without questions and answers")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.html"
            path.write_text(page, encoding="utf-8")
            tracking.artefact(path)
    tracking.end("finished")


def _figures(comparison: Comparison) -> Iterator[tuple[str, float | None]]:
    """The estimates of every setup, and the differences in what decides and in form."""
    for setup, metrics in comparison.setups.items():
        for metric, row in metrics.items():
            if row["n"]:
                yield from _named(f"{setup}/{metric}", row, _OF_SETUP)
    for row in comparison.pairs:
        if row["metric"] in (comparison.measure.name, "format_validity"):
            yield from _named(f"{row['a']} - {row['b']}/{row['metric']}", row, _OF_PAIR)


def _named(name: str, row: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, float | None]]:
    """Figures by names that every tracker takes, whatever a setup is called."""
    prefix = "/".join(_OTHER.sub("_", part) for part in name.rsplit("/", 1))
    yield from ((f"{prefix}/{key}", row[key]) for key in keys)
