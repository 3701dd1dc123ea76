"""Generates the records of one setup: its answer to every question, from passages that were retrieved beforehand.

As many questions as the engine takes at once are always in progress; answers are written batch by batch in the order of
the questions, so that an interrupted run continues with the batch it was at. Knows nothing of scores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from index.durable import write_file
from ragft.citations import parse_citations
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question
from ragft.engine.base import EngineDead
from ragft.engine.many import in_order
from ragft.errors import RagftError
from ragft.evaluate.records import PassageRef, Record, append_records, read_records
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import Setup


async def generate(
    pipeline: Pipeline,
    setup: Setup,
    questions: Sequence[Question],
    retrieved: Sequence[Retrieved] | None,
    folder: Path,
    answered: Callable[[int], None],
) -> int:
    """Writes `records.jsonl` of one setup, and `retrieval.jsonl` if it retrieves; returns how many answers failed now.

    Args:
        pipeline: a pipeline over an engine that has started.
        retrieved: the passages of every question; None for a setup without retrieval.
        folder: records of an interrupted run in it are kept.
        answered: called with the number of questions answered so far.

    Raises:
        EngineDead: the engine died; the batches before are written.
    """
    path = folder / "records.jsonl"
    if retrieved is not None:
        results = (
            {
                "question_id": question.id, "query": found.query, "index_version": found.index_version,
                "timings_ms": dict(found.timings_ms), "hits": [hit.to_json() for hit in found.hits],
            }
            for question, found in zip(questions, retrieved, strict=True)
        )  # fmt: skip
        write_file(folder / "retrieval.jsonl", to_lines(results))
    done = {record.question_id for record in _answered_before(path)}
    passages: Sequence[Retrieved | None] = retrieved or [None] * len(questions)
    todo = [asked for asked in zip(questions, passages, strict=True) if asked[0].id not in done]
    size = pipeline.config.engine.max_num_seqs
    written = failed = 0
    batch: list[Record] = []
    asking = in_order(todo, size, lambda asked: _record(pipeline, setup, *asked))
    async with contextlib.aclosing(asking) as records:
        async for record in records:
            batch.append(record)
            if len(batch) == size or written + len(batch) == len(todo):
                append_records(path, batch)
                written += len(batch)
                failed += sum(one.error is not None for one in batch)
                batch = []
                answered(len(done) + written)
    return failed


def _answered_before(path: Path) -> list[Record]:
    """The answers of an interrupted run; failures are removed from its file, so that they are tried again."""
    if not path.is_file():
        return []
    records = read_records(path)
    answered = [record for record in records if record.error is None]
    if len(answered) < len(records):
        write_file(path, to_lines(map(asdict, answered)))
    return answered


async def _record(pipeline: Pipeline, setup: Setup, question: Question, retrieved: Retrieved | None) -> Record:
    """One answer as a record. A question that fails becomes a failed record; a dead engine ends the run."""
    prompt = pipeline.render(setup, question.question, retrieved, history=question.history)
    found = prompt.retrieved
    asked = Record(
        question_id=question.id,
        setup=setup.name,
        answer="",
        passages=tuple(
            PassageRef(hit.chunk_id, hit.document_id, path[-1], hit.score, hit.title, hit.sections, path, hit.passage)
            for hit in prompt.hits
            for path in (hit.heading_path,)
        ),
        retrieval_ms=found.milliseconds if found else None,
        index_version=found.index_version if found else None,
        model_version=pipeline.engine_of(setup).version,
        passages_dropped=prompt.passages_dropped,
        dropped_turns=prompt.dropped_turns,
        query=found.query if found and question.history else None,
    )
    try:
        answer = await pipeline.answer(prompt)
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
        # The search was for all questions at once: a share of it is a cost, and part of nobody's wait.
        ttft_ms=answer.ttft_ms,
        total_ms=answer.total_ms,
    )
