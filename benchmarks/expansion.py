"""Is the answer in the prompt? Passages alone, with their neighbours, and with their sections, at equal prompt tokens.

    python benchmarks/expansion.py [--data FOLDER] [--questions 150] [--budgets 256 512 1024 2048] [--json FILE]

Two collections, each indexed with the packaged encoder and searched in hybrid mode:

- lifecycle: the pages and questions of the embedded example (configs/lifecycle.yaml). Counted are questions whose
  answer is written in a section that they name as their source, and the answer must be shown there.
- clapnq: FOLDER/answerable.jsonl and unanswerable.jsonl of ClapNQ. All passages are documents, cut small
  (`--max-tokens`). Counted are answerable questions; all sentences that one annotator answered from must be shown.

An answer is shown where every visible character of it is in a slice that the prompt shows, be it in one passage or in
several. The budget is the number of tokens that the passages may add to a prompt, counted by the base model's tokenizer
and chat template. `none` fills it with hits, up to 40. The others have as many hits as the row says, and fill what is
left with what is around them. All go through `Pipeline.render`. `gained` and `lost` are questions compared with `none`
at the same budget; `tokens` is what the passages took on average, `measured` how many prompts were counted for one.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from index.encoders.encoder import Encoder
from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import Hit
from index.search.settings import NEIGHBOURS, NONE, SECTION, SearchSettings
from index.store.snapshot import Snapshot
from ragft.config import Config, load_config
from ragft.data.questions import read_questions
from ragft.models import resolve_encoder, resolve_model
from ragft.pipeline import Pipeline, Retrieved, Retriever
from ragft.prompts import Message
from ragft.setups import RAG_ONLY
from ragft.templates import Template

ROOT = Path(__file__).resolve().parent.parent
MOST_HITS = 40
HITS = (1, 2, 4, 8)

Span = tuple[str, int, int]
"""A document with the start and end of a part of it."""


@dataclass(frozen=True)
class Asked:
    """A question; it is answered where all spans of one of the answers are shown."""

    question: str
    answers: tuple[tuple[Span, ...], ...]


@dataclass(frozen=True)
class Collection:
    name: str
    documents: dict[str, str]
    asked: list[Asked]
    max_tokens: int | None


@dataclass
class Counting:
    """Stands for an engine: counts the tokens that passages add to the prompt of one question."""

    tokenizer: Any
    without: int = 0
    lengths: list[int] = field(default_factory=list)

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        self.lengths.append(len(Template(self.tokenizer).prompt(messages)) - self.without)
        return self.lengths[-1]


def lifecycle(questions: int, seed: int) -> Collection:
    """Questions whose answer is written in one of their sections, as `page.md#Section` names it."""
    config = load_config(ROOT / "configs" / "lifecycle.yaml")
    folder = config.index.documents.folder
    documents = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}
    asked = []
    for question in read_questions(config.data.questions):
        answers = tuple(
            ((document, place, place + len(answer)),)
            for document, heading in (source.split("#", 1) for source in question.sources)
            for start, end in [_section(documents[document], heading)]
            for answer in question.answers
            if (place := documents[document].find(answer, start, end)) >= 0
        )
        if answers and not {"yes", "no"} & {answer.lower() for answer in question.answers}:
            asked.append(Asked(question.question, answers))
    return Collection("lifecycle", documents, _sampled(asked, questions, seed), config.index.chunking.max_tokens)


def _section(text: str, heading: str) -> tuple[int, int]:
    start = text.find(f"## {heading}\n")
    end = text.find("\n## ", start)
    return (start, len(text) if end < 0 else end) if start >= 0 else (0, 0)


def clapnq(folder: Path, questions: int, seed: int, max_tokens: int) -> Collection:
    documents: dict[str, str] = {}
    asked = []
    for name in ("answerable", "unanswerable"):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            (passage,) = row["passages"]
            document = f"{row['id']}.md"
            documents[document] = text = f"# {' '.join(passage['title'].split())}\n\n{passage['text'].strip()}\n"
            answers = []
            for output in row["output"]:
                places = [(text.find(sentence.strip()), sentence.strip()) for sentence in output["selected_sentences"]]
                if places and all(place >= 0 for place, _ in places):
                    answers.append(tuple((document, place, place + len(sentence)) for place, sentence in places))
            if answers:
                asked.append(Asked(row["input"], tuple(answers)))
    return Collection("clapnq", documents, _sampled(asked, questions, seed), max_tokens)


def _sampled(asked: list[Asked], count: int, seed: int) -> list[Asked]:
    return random.Random(seed).sample(asked, min(count, len(asked)))


def is_answered(asked: Asked, hits: Sequence[Hit], documents: dict[str, str]) -> bool:
    def is_shown(span: Span) -> bool:
        document, start, end = span
        shown: set[int] = set()
        for hit in hits:
            if hit.document_id == document:
                shown.update(range(max(start, hit.start), min(end, hit.end)))
        return all(place in shown or documents[document][place].isspace() for place in range(start, end))

    return any(all(is_shown(span) for span in answer) for answer in asked.answers)


def index(collection: Collection, encoder: Encoder, folder: Path) -> Snapshot:
    (folder / "documents").mkdir()
    for name, text in collection.documents.items():
        (folder / "documents" / name).write_text(text, encoding="utf-8")
    settings = RefreshSettings(max_tokens=collection.max_tokens)
    refresh(folder / "index", folder / "documents", encoder, settings)
    return Snapshot.open(folder / "index")


def rows(
    collection: Collection, snapshot: Snapshot, encoder: Encoder, budgets: Sequence[int]
) -> Iterator[dict[str, Any]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"), local_files_only=True)
    settings = SearchSettings(k=MOST_HITS, candidates=MOST_HITS)
    texts = [asked.question for asked in collection.asked]
    found = {
        expand: Retriever(snapshot, encoder, replace(settings, expand=expand)).search(texts)
        for expand in (NONE, NEIGHBOURS, SECTION)
    }
    for budget in budgets:
        plain = None
        for expand, hits in [(NONE, MOST_HITS), *((name, k) for name in (NEIGHBOURS, SECTION) for k in HITS)]:
            right, tokens, measured = [], [], []
            for asked, retrieved in zip(collection.asked, found[expand], strict=True):
                shown, spent, calls = _prompt(tokenizer, asked.question, retrieved, hits, budget)
                right.append(is_answered(asked, shown, collection.documents))
                tokens.append(spent)
                measured.append(calls)
            plain = plain or right
            yield {
                "collection": collection.name, "budget": budget, "expand": expand, "hits": hits,
                "questions": len(right), "answered": sum(right) / len(right),
                "gained": sum(now and not then for now, then in zip(right, plain, strict=True)),
                "lost": sum(then and not now for now, then in zip(right, plain, strict=True)),
                "tokens": sum(tokens) / len(tokens), "measured": sum(measured) / len(measured),
            }  # fmt: skip


def _prompt(
    tokenizer: Any, question: str, retrieved: Retrieved, hits: int, budget: int
) -> tuple[tuple[Hit, ...], int, int]:
    """The passages that a prompt shows, the tokens that they take, and how many prompts were counted."""
    # A window of twice the budget and no longer an answer than half of it leave the budget to the prompt.
    config = Config(name="expansion", engine={"max_model_len": 2 * budget, "max_tokens": budget})
    engine = Counting(tokenizer)
    pipeline = Pipeline(config, {"base": engine}, None)
    nothing = pipeline.render(RAG_ONLY, question, replace(retrieved, hits=()))
    engine.without = engine.prompt_length(nothing.messages)
    engine.lengths.clear()
    prompt = pipeline.render(RAG_ONLY, question, replace(retrieved, hits=retrieved.hits[:hits]))
    calls = len(engine.lengths)
    spent = engine.prompt_length(prompt.messages)
    assert spent <= budget
    return prompt.hits, spent, calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of ClapNQ; without it, only the embedded example")
    parser.add_argument("--questions", type=int, default=150, help="seeded sample of each collection")
    parser.add_argument("--budgets", type=int, nargs="+", default=[256, 512, 1024, 2048], help="tokens for passages")
    parser.add_argument("--max-tokens", type=int, default=64, help="longest passage of ClapNQ")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    encoder = Encoder(resolve_encoder("all-minilm-l6-v2"), dtype="float32")
    collections = [lifecycle(arguments.questions, arguments.seed)]
    if arguments.data:
        collections.append(clapnq(arguments.data, arguments.questions, arguments.seed, arguments.max_tokens))
    figures = []
    for collection in collections:
        with tempfile.TemporaryDirectory() as folder:
            snapshot = index(collection, encoder, Path(folder))
            print(
                f"{collection.name}: {snapshot.document_count} documents, {snapshot.chunk_count} passages", flush=True
            )
            for row in rows(collection, snapshot, encoder, arguments.budgets):
                figures.append(row)
                print(json.dumps(row), flush=True)
    table = Table(*figures[0])
    for row in figures:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
