"""A domain on disk, and stand-ins for what takes long: the index, the retriever and the engines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from index.documents.chunking import Chunk
from index.encoders.reranker import Reranker
from index.search.search import Hit
from index.store.filters import Filter, Labels
from ragft.console import Reporter
from ragft.engine.base import Delta, Generation, Sampling
from ragft.pipeline import Retrieved
from ragft.prompts import Message


class Domain:
    """A folder with a configuration, documents, examples and questions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "ragft.yaml"
        (folder / "documents").mkdir(parents=True)

    @property
    def workspace(self) -> Path:
        return self.folder / "out"

    def page(self, name: str, text: str | bytes) -> Path:
        path = self.folder / "documents" / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def configure(self, **sections: Any) -> Path:
        """Writes the configuration; sections are merged into the defaults of these tests."""
        values: dict[str, Any] = {"name": "desk", "workspace": "out", "index": {"top_k": 2}}
        values["data"] = {"validation_share": 0.25, "mix": {"passages": 2, "gold_share": 1.0, "closed_book_share": 0.0}}
        self.config.write_text(yaml.safe_dump({**values, **sections}))
        return self.config


def hit(document: str, heading: str, text: str, score: float = 0.5) -> Hit:
    """A passage as a search finds it; the whole section is the passage."""
    title = document.removesuffix(".md").title()
    start = abs(hash(heading)) % 1000
    return Hit(
        chunk_id=f"{document}#{heading}",
        document_id=document,
        title=title,
        heading_path=(title, heading),
        start=start,
        end=start + len(text),
        text=text,
        passage=f"{title} > {heading}\n{text}",
        score=score,
        dense_score=score,
        lexical_score=None,
    )


class FakeSnapshot:
    """Sections of documents, one chunk each (or several, with the same heading)."""

    id = "snapshot-of-a-test"

    def __init__(self, sections: Sequence[tuple[str, str, str]]) -> None:
        """`sections`: (document, heading, text)."""
        self._chunks = [
            Chunk(document, document.removesuffix(".md").title(), (heading,), number, number + len(text), text, "")
            for number, (document, heading, text) in enumerate(sections)
        ]

    def chunks(self) -> list[Chunk]:
        return self._chunks

    def hits(self) -> list[Hit]:
        """Every chunk as a hit, in order."""
        return [
            Hit(
                c.id, c.document_id, c.title, c.heading_path, c.start, c.end, c.text, c.passage, 0.5, 0.5, None
            )
            for c in self._chunks
        ]  # fmt: skip


@dataclass
class FakeRetriever:
    """Finds the same passages for every question, and counts what it was asked."""

    hits: tuple[Hit, ...]
    index_version: str = "snapshot-1"
    asked: list[str] = field(default_factory=list)
    restrictions: list[tuple[Filter | None, Labels]] = field(default_factory=list)
    reranker: Reranker | None = None

    def search(
        self,
        questions: Sequence[str],
        k: int | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        labels: Labels = None,
    ) -> list[Retrieved]:
        self.asked += questions
        self.restrictions += [(filter, labels) for _ in questions]
        return [Retrieved(self.hits[: k or len(self.hits)], self.index_version, 1.5) for _ in questions]


@dataclass
class FakeEngine:
    """Says `text` to everything; raises what `failures` holds for a question."""

    text: str = "2027-04-30 [1]"
    model_version: str = "model-1"
    failures: dict[str, Exception] = field(default_factory=dict)
    asked: list[list[Message]] = field(default_factory=list)
    running: bool = False

    async def start(self) -> None:
        self.running = True

    async def close(self) -> None:
        self.running = False

    async def check_health(self) -> None: ...

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Generation:
        assert self.running or not self.failures
        self.asked.append(list(messages))
        question = messages[-1]["content"].rpartition("Question: ")[2]
        if question in self.failures:
            raise self.failures[question]
        return Generation(self.text, (1, 2, 3), (7, 8), "stop", 10.0, 20.0)

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncIterator[Delta]:
        self.asked.append(list(messages))
        words = self.text.split(" ")
        for place, word in enumerate(words):
            last = place == len(words) - 1
            yield Delta(word if last else f"{word} ", (place + 1,), (7, 8), "stop" if last else None)


class Quiet(Reporter):
    """Says nothing, remembers everything."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)
