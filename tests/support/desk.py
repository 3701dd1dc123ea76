"""An endpoint with all that its page can show: a real index of two snapshots, golden questions and an evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from index.documents.document import Document
from ragft.artifacts import build
from ragft.pipeline import Pipeline
from serving.app import create_app
from serving.security import Keys
from support.fakes import MODEL_VERSION, FakeEngine
from support.indexes import HashEncoder, WordTokenizer, index_of
from support.serving import Fakes, Running, make_application, running

HOSTILE = "<img src=x onerror=\"document.title='run'\">"


@contextmanager
def desk(folder: Path, keys: Keys | None = None) -> Iterator[tuple[Running, Fakes]]:
    """The endpoint on a free port, with its stand-in for the models."""
    golden = folder / "golden.jsonl"
    lines = [
        {"id": "price", "question": "What does a ticket cost?", "sources": ["tickets.md"]},
        {"id": "dogs", "question": f"Do dogs pay {HOSTILE}?", "sources": ["dogs.md", "gone.md"]},
    ]
    golden.write_text("".join(json.dumps(line) + "\n" for line in lines))
    search = {"top_k": 3}
    application = make_application(
        folder, {"search": search, "refresh": {"gate": {"questions": golden}}},
        setups=["hybrid", "rag-only", "fine-tuned"],
    )  # fmt: skip
    encoder = HashEncoder(WordTokenizer())
    application.encoder = encoder  # type: ignore[assignment]
    first = [
        Document.of(
            "tickets.md", f"# Tickets\n\n## Prices 𝒳\n\nA ticket 𝒳 costs 12 euros; two tickets cost 20. {HOSTILE}\n",
            metadata={"year": 2024, "product": "rail", "tags": ["fares", HOSTILE]},
        ),
        Document.of(
            "dogs.md", "# Dogs\n\nDogs need a ticket of their own.\n", metadata={"year": 2020, "product": "rail"}
        ),
        Document.of("trains.md", "# Trains\n\nTrains leave every hour.\n", metadata={"year": 2025, "product": "bus"}),
    ]  # fmt: skip
    crowd = Document.of("fares.md", "# Fares\n\nWhat a ticket costs, a ticket costs: what does a ticket cost?\n")
    snapshot = index_of(application.index_root, first, [*first, crowd], encoder=encoder)
    fakes = Fakes(FakeEngine(["A **ticket** ", "costs 12 euros ", "[1]."]))
    fakes.engine.ids = (f"chatcmpl-{number}" for number in count()).__next__
    _evaluate(application.workspace, snapshot.id)

    async def load() -> Pipeline:
        return fakes.pipeline(application.retriever(snapshot))

    with running(create_app(application, load=load, keys=keys or Keys({}))) as server:
        yield server, fakes


def _evaluate(workspace: Path, index: str) -> None:
    parents = {"model": MODEL_VERSION, "index": index}
    records, _ = build(workspace / "records", "records", {}, lambda _: {}, parents=parents)

    def work(folder: Path) -> dict[str, Any]:
        (folder / "report.html").write_text(
            "<!doctype html><title>Report</title><h1>Which setup</h1>"
            "<script>document.title = document.cookie + 'run'</script>"
        )
        return {"hybrid": {"exact_match": 0.75, "format_validity": 1.0}}

    build(workspace / "evaluations", "evaluation", {"records": {"hybrid": records.fingerprint}}, work)
