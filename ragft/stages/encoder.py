"""Trains the index's encoder on the domain, and finds out by held-out questions whether that made it better.

Nothing is replaced: the trained encoder is an artifact, and the comparison says whether to name it in the
configuration.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from index.durable import write_file
from index.encoders.training import Pair, Recipe, mine, train
from index.search.search import search
from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact, build
from ragft.citations import collapsed
from ragft.config import Config, IndexSection
from ragft.data.audit import refuse_overlap
from ragft.data.examples import Example, read_examples
from ragft.data.jsonl import read_objects, to_lines
from ragft.data.mix import gold_passages
from ragft.data.split import split
from ragft.errors import RagftError, UsageError
from ragft.evaluate.ranking import Gold, ndcg, recall, reciprocal_rank
from ragft.evaluate.records import read_questions
from ragft.evaluate.statistics import Columns, estimates

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder
    from ragft.stages import Stages

FEWEST = 20
"""Questions below which neither the training nor the comparison could mean anything."""

MODES = ("dense", "hybrid")
RANKS = 10
_LOCATED_IN = 5  # hits among which the passage of a pair is looked for

Rankings = list[list[str]]


@dataclass(frozen=True)
class Known:
    """Questions whose passages are known.

    Attributes:
        examples: as they were read; `group` keeps related ones in one part.
        pairs: by the example's id.
        without_source: how many were left out, for want of a source or because the index does not hold the passage.
    """

    examples: tuple[Example, ...]
    pairs: Mapping[str, Pair]
    without_source: int


def train_encoder(stages: Stages, pairs_file: Path | None = None) -> Artifact:
    """The encoder trained on the domain, with the comparison on held-out questions among its figures.

    Args:
        stages: of the configuration whose index and examples are used.
        pairs_file: JSONL of pairs instead of the examples; see `read_pairs`.

    Raises:
        UsageError: there are no pairs, too few, or search does not use the encoder.
        RagftError: the documents changed since the index was built.
    """
    config = stages.config
    if config.index.mode == "lexical":
        raise UsageError("index.mode is lexical, which uses no encoder: set it to hybrid or dense to train one.")
    examples, passages = read_pairs(pairs_file) if pairs_file else (read_examples(config.data.examples), {})
    if config.data.questions.is_file():
        refuse_overlap(examples, read_questions(config.data.questions))
    snapshot = stages.training_snapshot()
    _refuse_stale(stages, snapshot)
    known = _known(examples, passages, snapshot, str(pairs_file or config.data.examples))
    if known.without_source:
        stages.reporter.say(f"{known.without_source} questions have no source in the index and were left out.")
    train_part, held_out = _parts(known, config)
    settings = config.index.training
    inputs = {
        "pairs": [[_sorted(pair.gold), pair.question] for pair in (*train_part, *held_out)],
        "held_out": len(held_out),
        "snapshot": snapshot.id,
        "encoder": stages.encoder.fingerprint,
        "search": config.index.model_dump(mode="json", exclude={"encoder", *IndexSection.UPKEEP}),
        "training": settings.model_dump(mode="json"),
        "seed": config.seed,
        "sentence-transformers": importlib.metadata.version("sentence-transformers"),
    }

    def work(folder: Path) -> dict[str, Any]:
        trained = folder / "encoder"
        # A trained encoder lies there whole or not at all: after an interruption only the comparison is missing.
        if not trained.is_dir():
            rows = mine(snapshot, stages.encoder, train_part, settings.negatives, config.seed)
            write_file(folder / "rows.jsonl", to_lines(asdict(row) for row in rows))
            recipe = Recipe(
                settings.epochs, settings.batch_size, settings.learning_rate, settings.warmup, config.seed
            )  # fmt: skip
            with stages.reporter.progress("Training the encoder") as advance:
                train(
                    stages.encoder, stages.encoder_folder, rows, trained, recipe,
                    lambda step, steps, loss: advance(step, steps, f"loss {loss:.3f}"),
                )  # fmt: skip
        return _compared(stages, snapshot, trained, train_part, held_out, folder / "index")

    return build(stages.workspace / "encoders", "encoder", inputs, work, {"snapshot": snapshot.id})[0]


def _compared(
    stages: Stages,
    snapshot: Snapshot,
    trained: Path,
    train_part: Sequence[Pair],
    held_out: Sequence[Pair],
    aside: Path,
) -> dict[str, Any]:
    """Figures of both encoders on the held-out questions, each with an index of its own over the same passages."""
    config = stages.config
    new = stages.load_encoder(trained)
    shutil.rmtree(aside, ignore_errors=True)
    stages.refresh_index(root=aside, documents=stages.training_documents, encoder=new)
    rebuilt = Snapshot.open(aside)
    if [document.hash for document in rebuilt.documents()] != [document.hash for document in snapshot.documents()]:
        raise RagftError(
            "The documents changed while the encoder was trained: run `ragft index refresh`, then this command again."
        )
    figures = comparison(
        scores(snapshot, stages.encoder, held_out, config), scores(rebuilt, new, held_out, config), config
    )
    del rebuilt
    shutil.rmtree(aside)
    return {
        "questions": {"train": len(train_part), "held_out": len(held_out)},
        "encoders": {"before": stages.encoder.fingerprint, "after": new.fingerprint},
        **figures,
    }


def read_pairs(path: Path) -> tuple[tuple[Example, ...], dict[str, str]]:
    """Reads pairs: `{"question", "sources": [...]}`, or `{"question", "passage": "its text"}`; `id` and `group` may
    stand beside them.

    Returns:
        the questions as examples without an answer, and the text of the passage for those that name no source.

    Raises:
        UsageError: the file cannot be read, or a line is no pair; the message names file and line.
    """
    examples: dict[str, Example] = {}
    passages: dict[str, str] = {}
    for where, values in read_objects(path, "pairs", "--pairs"):
        question, sources, passage = (values.get(key) for key in ("question", "sources", "passage"))
        if not isinstance(question, str) or not question.strip():
            raise UsageError(f"{where}: field 'question' is missing or no text.")
        named = isinstance(sources, list) and sources and all(isinstance(source, str) for source in sources)
        if not named and not (isinstance(passage, str) and passage.strip()):
            raise UsageError(f"{where}: write `sources` as a list of texts, or `passage` as a text.")
        identity = str(values.get("id") or "line-" + where.rpartition(" ")[2])
        if identity in examples:
            raise UsageError(f"{where}: id {identity!r} stands there twice: give each pair its own.")
        if not named:
            passages[identity] = str(passage)
        examples[identity] = Example(
            id=identity,
            question=question,
            answer="",
            sources=tuple(sources) if named and sources else (),
            group=str(values.get("group") or identity),
        )
    return tuple(examples.values()), passages


def _known(examples: Sequence[Example], passages: Mapping[str, str], snapshot: Snapshot, origin: str) -> Known:
    """The examples whose passages are in the index, each with the chunks of every source."""
    sourced = [example for example in examples if example.sources]
    gold = {
        id_: tuple(frozenset(passage.chunk_id for passage in options) for options in sources)
        for id_, sources in gold_passages(sourced, snapshot).items()
    }
    gold |= {id_: (found,) for id_, text in passages.items() if (found := _located(snapshot, text))}
    kept = tuple(example for example in examples if example.id in gold)
    if not kept:
        raise UsageError(
            f"No question in {origin} names a passage of the index: give examples `sources`, or name a file of "
            "question and passage with --pairs."
        )
    pairs = {example.id: Pair(example.id, example.question, gold[example.id]) for example in kept}
    return Known(kept, pairs, len(examples) - len(kept))


def _located(snapshot: Snapshot, text: str) -> frozenset[str]:
    """The chunk that a passage's text stands in, or that stands in it; empty where there is none."""
    wanted = " ".join(text.split())
    found = snapshot.bm25.scores(text)
    for row in np.argsort(-found, kind="stable")[:_LOCATED_IN]:
        if found[row] > 0:
            chunk = snapshot.chunk_at(int(row))
            held = " ".join(chunk.text.split())
            if wanted in held or held in wanted:
                return frozenset((chunk.id,))
    return frozenset()


def _parts(known: Known, config: Config) -> tuple[list[Pair], list[Pair]]:
    """What to train on and what to compare on, by group; no question stands in both."""
    if len(known.examples) < FEWEST:
        raise UsageError(
            f"{len(known.examples)} questions with a source are too few to train and compare an encoder on: collect "
            f"at least {FEWEST}, better some hundreds."
        )
    train_part, held_out = split(known.examples, config.index.training.validation_share, config.seed)
    asked = {collapsed(example.question) for example in held_out}
    return (
        [known.pairs[example.id] for example in train_part if collapsed(example.question) not in asked],
        [known.pairs[example.id] for example in held_out],
    )


def _refuse_stale(stages: Stages, snapshot: Snapshot) -> None:
    """An index aside is compared with this one: both must hold the same passages."""
    report = stages.refresh_index(dry_run=True, root=snapshot.root, documents=stages.training_documents)
    if not report.plan.is_empty:
        raise RagftError(
            f"The documents changed since the index in {snapshot.root} was built: run `ragft index refresh` first, so "
            "that old and new encoder are compared on the same passages."
        )


def rankings(snapshot: Snapshot, encoder: Encoder, questions: Sequence[str], mode: str, config: Config) -> Rankings:
    """Chunk ids for each question, best first, as deep as the figures need."""
    settings = config.index
    found = search(
        snapshot,
        encoder,
        questions,
        k=max(RANKS, settings.top_k),
        mode=mode,
        weights=(settings.dense_weight, settings.lexical_weight),
        rrf_k=settings.rrf_k,
        depth=settings.depth,
        bm25=(settings.bm25_k1, settings.bm25_b),
    )
    return [[hit.chunk_id for hit in hits] for hits in found]


def measures(top_k: int) -> dict[str, Callable[[Sequence[str], Gold], float]]:
    """What is measured of a ranking, by its name."""
    return {
        f"nDCG@{RANKS}": lambda ranking, gold: ndcg(ranking, gold, RANKS),
        f"MRR@{RANKS}": lambda ranking, gold: reciprocal_rank(ranking, gold, RANKS),
        f"recall@{top_k}": lambda ranking, gold: recall(ranking, gold, top_k),
    }


def scores(snapshot: Snapshot, encoder: Encoder, pairs: Sequence[Pair], config: Config) -> dict[str, list[float]]:
    """Every measure of every mode, question by question: `dense nDCG@10` and so on."""
    measured: dict[str, list[float]] = {}
    for mode in MODES:
        found = rankings(snapshot, encoder, [pair.question for pair in pairs], mode, config)
        for name, measure in measures(config.index.top_k).items():
            measured[f"{mode} {name}"] = [
                measure(ranking, pair.gold) for ranking, pair in zip(found, pairs, strict=True)
            ]
    return measured


def comparison(before: Mapping[str, list[float]], after: Mapping[str, list[float]], config: Config) -> dict[str, Any]:
    """Means and paired differences with 95 % intervals, and whether the new encoder is surely the better one.

    It is, if nDCG@10 of the configured mode rose and the interval of the difference lies above 0.
    """
    old, new = (np.array([part[name] for name in before], dtype=np.float64).T for part in (before, after))
    rows: dict[str, Any] = {}
    for name, b, a, difference in zip(
        before, *(_estimates(part, config) for part in (old, new, new - old)), strict=True
    ):
        rows[name] = {"before": b["mean"], "after": a["mean"], "difference": difference}
    decides = f"{config.index.mode} nDCG@{RANKS}"
    return {"measures": rows, "decided_by": decides, "better": bool(rows[decides]["difference"]["low"] > 0)}


def _estimates(columns: Columns, config: Config) -> list[dict[str, Any]]:
    found = estimates(columns, seed=config.seed, resamples=config.evaluate.resamples)
    return [asdict(estimate) for estimate in found]


def figures_table(artifact: Artifact) -> Table:
    """Both encoders side by side."""
    questions = artifact.figures["questions"]
    table = Table(
        f"{questions['held_out']} held-out questions", "before", "after", "difference (95 %)",
        caption=f"trained on {questions['train']}",
    )  # fmt: skip
    for name, row in artifact.figures["measures"].items():
        difference = row["difference"]
        interval = f"{difference['mean']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"
        table.add_row(name, f"{row['before']:.3f}", f"{row['after']:.3f}", interval)
    return table


def verdict(artifact: Artifact) -> str:
    """What to do with the trained encoder, in words."""
    figures = artifact.figures
    decides = figures["decided_by"]
    difference = figures["measures"][decides]["difference"]
    numbers = (
        f"{decides} changed by {difference['mean']:+.3f} (95 % {difference['low']:+.3f} to {difference['high']:+.3f}) "
        f"on {difference['n']} held-out questions"
    )
    if figures["better"]:
        line = json.dumps(str((artifact.folder / "encoder").resolve()), ensure_ascii=False)
        return (
            f"Better: {numbers}. Nothing was replaced; to use it, set\n\n  index:\n    encoder: {line}\n\n"
            "in the configuration and run `ragft index build --rebuild`."
        )
    return (
        f"Not surely better: {numbers}. Keep the present encoder; more questions with sources would help both the "
        "training and the comparison."
    )


def _sorted(gold: Gold) -> list[list[str]]:
    return [sorted(source) for source in gold]
