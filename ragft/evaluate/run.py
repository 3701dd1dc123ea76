"""Generating the records of a comparison: the same questions, the same passages, every setup.

Passages are searched once for all setups that use them. Answers are generated and written batch by batch, so that an
interrupted run goes on with the batch it was at. Scoring happens elsewhere, and can be repeated without generating.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from index.durable import write_file
from index.search.search import Hit
from index.store.filters import Labels, parse_labels
from ragft.artifacts import Artifact, build, hash_file
from ragft.citations import parse_citations
from ragft.config import Config, IndexSection
from ragft.console import Reporter
from ragft.data.jsonl import to_lines
from ragft.engine.base import Engine
from ragft.errors import EngineDead, RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.records import PassageRef, Question, Record, append_records, read_questions, read_records
from ragft.pipeline import Pipeline, Retrieved, Retriever
from ragft.setups import SETUPS, Setup

EngineFor = Callable[[str], Engine]
"""Makes the engine of a `Setup.model`: `"base"` or `"tuned"`."""


def chosen_questions(config: Config) -> tuple[Question, ...]:
    """The questions to ask: all of them, or a seeded subset in the order of the file."""
    questions = read_questions(config.data.questions)
    limit = config.evaluate.limit
    if limit is None or limit >= len(questions):
        return questions
    places = sorted(random.Random(config.seed).sample(range(len(questions)), limit))
    return tuple(questions[place] for place in places)


def evaluate(
    config: Config,
    root: Path,
    retriever: Retriever | None,
    model_versions: Mapping[str, str],
    engine_for: EngineFor,
    reporter: Reporter,
) -> tuple[Artifact, bool]:
    """Asks every question in every setup, scores, compares and writes the report.

    Args:
        root: folder of all evaluations.
        retriever: None where no setup retrieves.
        model_versions: by `Setup.model`; they decide whether an evaluation exists already.

    Returns:
        the artifact (`records.jsonl`, `scores.jsonl`, `comparison.json`, `report.html`), and whether it was made now.

    Raises:
        RagftError: more records failed than `evaluate.max_failed` allows.
    """
    setups = [SETUPS[name] for name in config.evaluate.setups]
    questions = chosen_questions(config)
    models = {setup.model: model_versions[setup.model] for setup in setups}
    inputs = {
        "questions": hash_file(config.data.questions),
        "limit": config.evaluate.limit,
        "evaluate": config.evaluate.model_dump(mode="json"),
        "prompt": config.prompt.model_dump(mode="json"),
        "engine": config.engine.model_dump(mode="json"),
        "index": retriever.index_version if retriever else None,
        "search": config.index.model_dump(mode="json", exclude={"encoder", *IndexSection.UPKEEP}),
        "reranker": retriever.reranker.fingerprint if retriever and retriever.reranker else None,
        "models": models,
        "seed": config.seed,
    }

    def work(folder: Path) -> dict[str, Any]:
        retrieved = search_once(retriever, questions, folder, setups, _labels(config))
        pipeline = Pipeline(config, {}, retriever)
        asyncio.run(
            _generate_all(pipeline, setups, questions, retrieved, engine_for, folder / "records.jsonl", reporter)
        )
        return score_and_report(config, folder, questions, inputs)

    parents = {**models, **({"index": retriever.index_version} if retriever else {})}
    return build(root, "evaluation", inputs, work, parents)


def search_once(
    retriever: Retriever | None,
    questions: Sequence[Question],
    folder: Path,
    setups: Sequence[Setup],
    labels: Labels = None,
) -> list[Retrieved] | None:
    """The passages of every question, the same for all setups; written beside the records for readers of them."""
    if retriever is None or not any(setup.retrieval for setup in setups):
        return None
    retrieved = retriever.search([question.question for question in questions], labels=labels)
    rows = (
        {
            "question_id": question.id,
            "index_version": found.index_version,
            "timings_ms": dict(found.timings_ms),
            "hits": [asdict(hit) for hit in found.hits],
        }
        for question, found in zip(questions, retrieved, strict=True)
    )
    write_file(folder / "retrieval.jsonl", to_lines(rows))
    return retrieved


def _labels(config: Config) -> Labels:
    """Of the caller that an evaluation stands for."""
    labels = config.evaluate.labels
    return None if labels is None else parse_labels(",".join(labels))


async def _generate_all(
    pipeline: Pipeline,
    setups: Sequence[Setup],
    questions: Sequence[Question],
    retrieved: Sequence[Retrieved] | None,
    engine_for: EngineFor,
    path: Path,
    reporter: Reporter,
) -> None:
    """One model after the other, so that only one is in memory at a time."""
    done = {(record.question_id, record.setup) for record in _answered_before(path)}
    total = len(questions) * len(setups)
    with reporter.progress("Answering") as advance:
        for model in dict.fromkeys(setup.model for setup in setups):
            todo = [
                (setup, place)
                for setup in setups
                if setup.model == model
                for place, question in enumerate(questions)
                if (question.id, setup.name) not in done
            ]
            if not todo:
                continue
            advance(len(done), total, f"loading the {model} model")
            engine = engine_for(model)
            await engine.start()
            try:
                pipeline.engines = {**pipeline.engines, model: engine}
                size = pipeline.config.engine.max_sequences
                for start in range(0, len(todo), size):
                    records = await asyncio.gather(
                        *(
                            _record(pipeline, setup, questions[place], retrieved[place] if retrieved else None)
                            for setup, place in todo[start : start + size]
                        )
                    )
                    append_records(path, records)
                    done.update((record.question_id, record.setup) for record in records)
                    advance(len(done), total, todo[start][0].name)
            finally:
                await engine.close()


def _answered_before(path: Path) -> list[Record]:
    """What an interrupted run has answered; what failed there is taken out of the file, to be asked again."""
    if not path.is_file():
        return []
    records = read_records(path)
    answered = [record for record in records if record.error is None]
    if len(answered) < len(records):
        write_file(path, to_lines(record.to_json() for record in answered))
    return answered


async def _record(pipeline: Pipeline, setup: Setup, question: Question, retrieved: Retrieved | None) -> Record:
    """One answer as a record. A question that fails is a failed record; an engine that died ends the run."""
    prompt = pipeline.render(setup, question.question, retrieved)
    found = prompt.retrieved
    search_ms = found.milliseconds if found else 0.0
    asked = Record(
        question_id=question.id,
        setup=setup.name,
        answer="",
        passages=tuple(_reference(hit) for hit in prompt.hits),
        citations=(),
        finish_reason=None,
        prompt_tokens=None,
        answer_tokens=None,
        retrieval_ms=found.milliseconds if found else None,
        ttft_ms=None,
        total_ms=None,
        index_version=found.index_version if found else None,
        model_version=pipeline.engine_of(setup).model_version,
    )
    try:
        answer = await pipeline.generate(prompt)
    except EngineDead:
        raise
    except RagftError as error:
        return replace(asked, error=str(error))
    return replace(
        asked,
        answer=answer.text,
        citations=parse_citations(answer.text),
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        answer_tokens=answer.answer_tokens,
        # What a user waits for begins with the search.
        ttft_ms=search_ms + answer.ttft_ms,
        total_ms=search_ms + answer.total_ms,
    )


def _reference(hit: Hit) -> PassageRef:
    heading = hit.heading_path[-1] if hit.heading_path else hit.title
    return PassageRef(hit.chunk_id, hit.document_id, heading, hit.score, hit.title)


def score_and_report(
    config: Config, folder: Path, questions: Sequence[Question], fingerprints: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores the records in a folder and writes the comparison and the report beside them; returns the main figures."""
    from ragft.evaluate.report import render_report
    from ragft.evaluate.score import score, write_comparison

    records = read_records(folder / "records.jsonl")
    rules = Rules.compile(config.prompt.format, config.prompt.value, config.prompt.refusal)
    scores, comparison = score(
        questions,
        records,
        rules,
        setups=config.evaluate.setups,
        seed=config.seed,
        resamples=config.evaluate.resamples,
        max_failed=config.evaluate.max_failed,
        fingerprints=fingerprints,
    )
    write_comparison(folder, scores, comparison)
    subtitle = f"{len(questions)} questions, {len(config.evaluate.setups)} setups"
    page = render_report(comparison, records, questions, name=config.name, subtitle=subtitle, scores=scores)
    write_file(folder / "report.html", page.encode())
    return {
        setup: {metric: metrics[metric]["mean"] for metric in ("exact_match", "format_validity")}
        for setup, metrics in comparison.setups.items()
    }
