"""The encoder: trained on the domain, and compared with the present one on held-out questions.

Nothing is replaced: the trained encoder is an artifact, and the comparison says whether to name it in the
configuration.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.durable import write_file
from index.encoders.training import Recipe, train
from index.search.hard_negatives import Pair, mine
from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact
from ragft.config import Config
from ragft.conversation import questions_in, standalone
from ragft.data.answers import ANSWERS_VERSION, Answer
from ragft.data.audit import refuse_overlap
from ragft.data.examples import Example
from ragft.data.gold import Gold, gold_passages
from ragft.data.jsonl import to_lines
from ragft.data.pairs import read_pairs
from ragft.data.questions import read_questions
from ragft.data.split import split
from ragft.errors import RagftError, UsageError
from ragft.evaluate.encoders import comparison, scores
from ragft.patterns import Bounded
from ragft.stages.application import Application, Inputs
from ragft.stages.index import refresh, training_snapshot
from ragft.stages.inputs import ENCODER

FEWEST = 20  # with fewer questions neither the training nor the comparison could mean anything
_LOCATED_IN = 5  # hits among which the passage of a pair is looked for


@dataclass(frozen=True)
class Known:
    """Questions whose passages are known.

    Attributes:
        examples: as they were read; `group` keeps related ones in one part.
        pairs: by the example's id.
        without_source: questions left out, for want of a source or because the index does not hold the passage.
    """

    examples: tuple[Example, ...]
    pairs: Mapping[str, Pair]
    without_source: int


def train_encoder(app: Application, pairs_file: Path | None = None) -> Artifact:
    """The encoder trained on the domain, with the comparison on held-out questions among its figures.

    `pairs_file` is read instead of the examples; see `read_pairs`.

    Raises:
        UsageError: there are no pairs, too few, or search does not use the encoder.
        RagftError: the documents changed since the index was built.
    """
    config = app.config
    if config.index.search.mode == "lexical":
        raise UsageError("index.search.mode is lexical, which uses no encoder: set it to hybrid or dense to train one.")
    examples, passages = read_pairs(pairs_file) if pairs_file else (app.examples, {})
    if config.data.questions.is_file():
        for remark in refuse_overlap(examples, read_questions(config.data.questions)):
            app.reporter.say(remark)
    snapshot = training_snapshot(app)
    _refuse_stale(app, snapshot)
    known = _known(examples, passages, snapshot, config, str(pairs_file or config.data.examples))
    if known.without_source:
        app.reporter.say(f"{known.without_source} questions have no source in the index and were left out.")
    train_part, held_out = _parts(known, config)

    def work(folder: Path) -> dict[str, Any]:
        trained = folder / "encoder"
        # A trained encoder lies there whole or not at all: after an interruption only the comparison is missing.
        if not trained.is_dir():
            _train(app, snapshot, train_part, trained)
        return _compared(app, snapshot, trained, train_part, held_out)

    inputs = {
        "pairs": [[_sorted(pair), pair.question] for pair in (*train_part, *held_out)],
        # Passages with the answer of a question are no negatives of it.
        "answers": [ANSWERS_VERSION, *([example.answer, example.history] for example in known.examples)],
        "held_out": len(held_out),
        "snapshot": snapshot.id,
        **app.encoder_hashes(),
    }
    return app.build(Inputs((ENCODER,), inputs, {"snapshot": snapshot.id}), work)


def _train(app: Application, snapshot: Snapshot, pairs: Sequence[Pair], trained: Path) -> None:
    settings, seed = app.config.index.encoder.training, app.config.seed
    rows = mine(snapshot, app.encoder, pairs, settings.negatives, seed)
    write_file(trained.with_name("rows.jsonl"), to_lines(asdict(row) for row in rows))
    recipe = Recipe(settings.epochs, settings.batch_size, settings.learning_rate, settings.warmup_ratio, seed)
    with app.reporter.progress("Training the encoder") as advance:
        train(
            app.encoder, app.encoder_folder, rows, trained, recipe,
            lambda step, steps, loss: advance(step, steps, f"loss {loss:.3f}"),
        )  # fmt: skip


def _compared(
    app: Application, snapshot: Snapshot, trained: Path, train_part: Sequence[Pair], held_out: Sequence[Pair]
) -> dict[str, Any]:
    """Figures of both encoders on the held-out questions, each with an index of its own over the same passages."""
    new, aside = app.load_encoder(trained), trained.with_name("index")
    shutil.rmtree(aside, ignore_errors=True)
    refresh(app, root=aside, documents=_documents(app), encoder=new)
    rebuilt = Snapshot.open(aside)
    if [document.hash for document in rebuilt.documents()] != [document.hash for document in snapshot.documents()]:
        raise RagftError(
            "The documents changed while the encoder was trained: run `ragft index refresh`, then this command again."
        )
    settings = app.config.index.search.settings()
    before, after = (
        scores(of, encoder, held_out, settings, app.reranker)
        for of, encoder in ((snapshot, app.encoder), (rebuilt, new))
    )
    del rebuilt
    shutil.rmtree(aside)
    return {
        "questions": {"train": len(train_part), "held_out": len(held_out)},
        "encoders": {"before": app.encoder.fingerprint, "after": new.fingerprint},
        **comparison(before, after, settings.mode),
    }


def _documents(app: Application) -> Path:
    return app.config.data.documents or app.config.index.documents.folder


def _known(
    examples: Sequence[Example], passages: Mapping[str, str], snapshot: Snapshot, config: Config, origin: str
) -> Known:
    """The examples whose passages are in the index, each with the chunks of every source."""
    sourced = gold_passages([example for example in examples if example.sources], snapshot)
    gold = {
        name: tuple(frozenset(passage.chunk_id for passage in options) for options in sources)
        for name, sources in sourced.items()
    }
    gold |= {name: (found,) for name, text in passages.items() if (found := _located(snapshot, text))}
    kept = tuple(example for example in examples if example.id in gold)
    if not kept:
        raise UsageError(
            f"No question in {origin} names a passage of the index: give examples `sources`, or name a file of "
            "question and passage with --pairs."
        )
    pairs = {
        example.id: Pair(
            example.id, _query(example, snapshot, config), gold[example.id],
            _answered_by(example, sourced.get(example.id, ()), config),
        )
        for example in kept
    }  # fmt: skip
    return Known(kept, pairs, len(examples) - len(kept))


def _query(example: Example, snapshot: Snapshot, config: Config) -> str:
    """What is searched for an example: of a follow-up, what the endpoint makes of it."""
    if config.serve.condense == "off" or not questions_in(example.history):
        return example.question
    return standalone(example.question, example.history, snapshot.bm25.words)


def _answered_by(example: Example, gold: Gold, config: Config) -> Callable[[str], bool]:
    """Whether a passage holds what one of the sources says of the answer; never, where that cannot be decided."""
    rule = Bounded(config.answer.value, "answer.value") if config.answer.value else None
    answer = Answer.of_example(example, rule, config.answer.refusal)
    evidence = answer.evidence([[passage.passage for passage in options] for options in gold])
    return lambda passage: any(one.is_in(passage) for one in evidence if one)


def _located(snapshot: Snapshot, text: str) -> frozenset[str]:
    """The chunk that contains a passage's text, or is contained in it; empty where there is none."""
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
    """What to train on and what to compare on, by group; no question is in both."""
    if len(known.examples) < FEWEST:
        raise UsageError(
            f"{len(known.examples)} questions with a source are too few to train and compare an encoder on: collect "
            f"at least {FEWEST}, better some hundreds."
        )
    share = config.index.encoder.training.validation_share
    train_part, held_out = split(known.examples, share, config.seed)
    return [known.pairs[example.id] for example in train_part], [known.pairs[example.id] for example in held_out]


def _refuse_stale(app: Application, snapshot: Snapshot) -> None:
    """The index aside is compared with this one: both must hold the same passages."""
    report = refresh(app, dry_run=True, root=snapshot.root, documents=_documents(app))
    if not report.plan.is_empty:
        raise RagftError(
            f"The documents changed since the index in {snapshot.root} was built: run `ragft index refresh` first, so "
            "that old and new encoder are compared on the same passages."
        )


def _sorted(pair: Pair) -> list[list[str]]:
    return [sorted(source) for source in pair.gold]
