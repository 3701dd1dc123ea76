"""A domain whose evaluation answers with stand-ins for index and engines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from index.documents.chunking import Chunk
from ragft.artifacts import Artifact, model_version
from ragft.config import Config
from ragft.evaluate.records import Record, read_records
from ragft.setups import SETUPS
from ragft.stages import evaluation, records
from ragft.stages.application import Application
from support.domains import application
from support.fakes import FakeEngine, FakeRetriever, hit

HITS = (hit("node.md", "Node.js 22", "Ends 2027-04-30."), hit("mysql.md", "MySQL 8.0", "Ends 2026-04-30."))
COUNT = 7


def snapshot_of_hits() -> SimpleNamespace:
    """What a suite reads of the live snapshot: the chunks of `HITS`."""
    chunks = [Chunk(one.document_id, one.title, one.heading_path, 0, 9, one.text, "") for one in HITS]
    return SimpleNamespace(id="snapshot-1", chunks=lambda: iter(chunks))


@dataclass
class Evaluated:
    """An evaluation in a folder; remembers which questions each model was asked.

    Attributes:
        new_engine: the stand-in for an engine.
        failures: what a question is answered with instead, by its text.
        index: id of the live snapshot; None: there is no index.
        reranker: content of the reranker's folder.
        searched: the questions that were searched for, with the labels of the caller.
    """

    new_engine: ClassVar[type[FakeEngine]] = FakeEngine
    folder: Path
    failures: dict[str, Exception] = field(default_factory=dict)
    index: str | None = "snapshot-1"
    reranker: str | None = None
    engines: list[FakeEngine] = field(default_factory=list)
    retriever: FakeRetriever = field(default_factory=lambda: FakeRetriever(HITS, "snapshot-1"))

    def application(self, **sections: Any) -> Application:
        """The application, with these sections beside the defaults of these tests."""
        values: dict[str, Any] = {"name": "desk", "workspace": self.folder / "out", "engine": {"max_num_seqs": 2}}
        values["data"] = {"questions": self.folder / "questions.jsonl", "examples": self.folder / "no-examples.jsonl"}
        values["evaluate"] = {"resamples": 200, **sections.pop("evaluate", {})}
        return application(Config.model_validate({**values, **sections}))

    def __call__(self, **sections: Any) -> Artifact:
        return evaluation.evaluate(self.application(**sections))

    def suite(self, made: Callable[[Application, Artifact], Artifact], **sections: Any) -> Artifact:
        """What a suite makes beside the evaluation; only the engines of the suite are remembered."""
        compared = self(**sections)
        self.engines.clear()
        return made(self.application(**sections), compared)

    def asked(self) -> Counter[tuple[str, str]]:
        """How often each model was asked each turn, by the name of its folder."""
        return Counter((engine.version, turn) for engine in self.engines for turn in engine.asked)

    def model(self, name: str, weights: bytes | None = None) -> Path:
        """Folder of a model; its content is its version."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if weights is not None or not (folder / "model.safetensors").is_file():
            (folder / "model.safetensors").write_bytes(weights or name.encode())
        return folder

    def version(self, name: str) -> str:
        return model_version(self.model(name))

    # --- what the stand-ins replace

    def model_folders(self, _: Application, setups: Sequence[str]) -> dict[str, Path]:
        return {model: self.model(model) for model in dict.fromkeys(SETUPS[name].model for name in setups)}

    def model_folder(self, _: Application, model: str) -> Path:
        return self.model(model)

    def engine(self, _: Application, folder: Path, **__: Any) -> FakeEngine:
        assert not any(engine.started for engine in self.engines), "two models in memory"
        self.engines.append(self.new_engine(["2027-04-30 ", "[1]"], model_version(folder), failures=self.failures))
        return self.engines[-1]

    def snapshot(self, _: Application) -> Any:
        return SimpleNamespace(id=self.index)


def evaluated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    """An evaluation of a few questions, with stand-ins for what takes long."""
    rows = [{"id": f"q{n}", "question": f"Question {n}?", "answers": ["2027-04-30"]} for n in range(COUNT)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = Evaluated(folder)
    monkeypatch.setattr(Application, "model_folders", lambda app, setups: made.model_folders(app, setups))
    monkeypatch.setattr(Application, "model_folder", lambda app, model: made.model_folder(app, model))
    monkeypatch.setattr(Application, "engine", lambda app, folder, **settings: made.engine(app, folder, **settings))
    monkeypatch.setattr(Application, "retriever", lambda app, snapshot: made.retriever)
    monkeypatch.setattr(Application, "encoder_hashes", lambda app: {"encoder": "e", "reranker": made.reranker})
    monkeypatch.setattr(records, "live_snapshot", made.snapshot)
    monkeypatch.setattr(evaluation, "current_id", lambda root: made.index)
    return made


def records_of(app: Application) -> dict[tuple[str, str], Record]:
    """The published records by question and setup."""
    found = [
        record
        for path in (app.workspace / "records").glob("*/records.jsonl")
        if not path.parent.name.startswith(".")
        for record in read_records(path)
    ]
    by_key = {(record.question_id, record.setup): record for record in found}
    assert len(by_key) == len(found)
    return by_key
