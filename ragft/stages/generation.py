"""Examples and questions made from the passages of the index, verified, and told apart from what failed."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from index.durable import write_file
from ragft.artifacts import Artifact, hash_file, remove
from ragft.data.examples import Example, as_line
from ragft.data.generate.candidates import CANDIDATES_VERSION, SHAPES, Candidate, Shape
from ragft.data.generate.estimate import Estimate
from ragft.data.generate.facts import FACTS_VERSION
from ragft.data.generate.model import (
    PROMPT_VERSION,
    TASKS,
    Ask,
    asks_about,
    check_fault,
    check_messages,
    read_reply,
)
from ragft.data.generate.sides import Side, in_turn, portions, settled, sides_of
from ragft.data.generate.verify import VERIFY_VERSION, Rejected, rank_of, stated_by, without_copies
from ragft.data.jsonl import to_lines
from ragft.data.questions import as_line as question_line
from ragft.data.split import validating
from ragft.errors import UsageError
from ragft.kept import Kept, kept_in
from ragft.stages.application import Application, Inputs
from ragft.stages.inputs import GENERATE
from ragft.stages.material import Material
from ragft.stages.writing_model import WritingModel, model_name

if TYPE_CHECKING:
    from index.documents.chunking import Chunk
    from ragft.pipeline import Retriever

EXAMPLES, QUESTIONS, REJECTED, REPORT = "examples.jsonl", "questions.jsonl", "rejected.jsonl", "report.json"
SEARCHES, REPLIES = "generated-searches.jsonl", "generated-replies.jsonl"

DEPTH = 4
"""Times `index.search.top_k` passages that are looked through for a source, and for what nobody should state."""
_BATCH = 64  # searches at once
_CHARACTERS_PER_TOKEN = 4
_CHECK_TOKENS = 64
_YIELD = 0.5
"""Share of a model's questions that is expected to be verified, until it is known."""


def generate(app: Application) -> Artifact:
    """Makes examples and questions, and publishes them into `data.generate.folder`.

    What is interrupted goes on where it was: searches and replies of the model are kept as they come.

    Raises:
        UsageError: there is nothing to ask about, the templates cannot be read, or files in the folder were edited.
        RagftError: the server does not answer.
    """
    return Generation(app).made()


class Generation:
    """The generating of one configuration: planned, and not begun."""

    def __init__(self, app: Application) -> None:
        self.app, self.settings, self.material = app, app.config.data.generate, Material(app)
        self._rejected: list[Rejected] = []
        self._unanswered: dict[str, str] = {}
        self._spent: Counter[str] = Counter()

    # --- what it takes

    def estimate(self) -> Estimate:
        """What it takes; asks nobody anything."""
        there = self.material
        told = Estimate(len({one.document_id for one in there.sections}), len(there.facts), len(there.candidates))
        if self.settings.by == "structure":
            return told
        asks: list[Ask] = []
        for side in sides_of(self.settings):
            expected = 0 if self.settings.by == "model" else len(self._passing(side))
            asks += self._asks(side, max(0, side.total - expected))
        model, size = self._model_name, self.settings.max_tokens
        with self._kept(REPLIES) as kept:
            waiting = [ask for ask in asks if kept.get(ask.key(model, size)) is None]
        characters = sum(len(one["content"]) for ask in waiting for one in ask.messages)
        prompts = characters // _CHARACTERS_PER_TOKEN
        answers = len(waiting) * size
        cost = self.app.config.evaluate.cost
        return replace(
            told, requests=len(asks), known=len(asks) - len(waiting), prompt_tokens=prompts, answer_tokens=answers,
            price=cost.of_tokens(prompts, answers), currency=cost.currency,
        )  # fmt: skip

    def _passing(self, side: Side) -> list[Candidate]:
        return [one for one in self.material.candidates if one.place.in_questions == side.in_questions
                and self.material.checks.fault(one) is None]  # fmt: skip

    # --- the work

    def made(self) -> Artifact:
        """The artifact, found or made, and published; see `generate`."""
        folder = self.settings.folder
        _refuse_edited(folder)
        inputs = Inputs((GENERATE,), self._decided())
        existing = self.app.find(inputs)
        if existing is not None and existing.figures["unanswered_requests"]:
            remove(existing)  # what got no answer then may get one now
        artifact = self.app.build(inputs, self._work)
        folder.mkdir(parents=True, exist_ok=True)
        for name in (EXAMPLES, QUESTIONS, REJECTED, REPORT):
            write_file(folder / name, (artifact.folder / name).read_bytes())
        return artifact

    def _decided(self) -> dict[str, Any]:
        by_model = self.settings.by != "structure"
        wording = self.material.wording  # written where it is missing
        return {
            "snapshot": self.material.snapshot.id,
            "templates": wording.model_dump(mode="json"),
            "avoid": [self.app.hash_input(path, "data.generate.avoid") for path in self.settings.avoid],
            "model": self._model_name if by_model else None,
            "reranker": self.app.encoder_hashes()["reranker"],
            "versions": [FACTS_VERSION, CANDIDATES_VERSION, VERIFY_VERSION, PROMPT_VERSION if by_model else 0],
        }

    def _work(self, folder: Path) -> dict[str, Any]:
        begin = time.monotonic()
        estimate = self.estimate()
        self.app.reporter.say(estimate.sentence)
        sides = sides_of(self.settings)
        with self._kept(SEARCHES) as searches:
            retriever = self.app.retriever(self.material.snapshot)
            # Far more may be stated than is wanted, so that candidates are verified in portions.
            for portion in portions(self.material.candidates, sides):
                self._settle(sides, self._verified(portion, settled(sides)), searches, retriever)
            if self.settings.by != "structure" and any(side.lacking for side in sides):
                with self._kept(REPLIES) as replies:
                    self._ask(sides, replies, searches, retriever)
        taught, asked = sides
        if not taught.found or not asked.found:
            raise UsageError(self._nothing(taught, asked))
        report = self._report(sides, estimate, time.monotonic() - begin)
        rows = [candidate.example(*_hard(hard)) for candidate, hard in taught.found]
        self._tell_whether_they_split(rows)
        write_file(folder / EXAMPLES, to_lines(as_line(row) for row in rows))
        questions = [candidate.evaluation(*_hard(hard)) for candidate, hard in asked.found]
        write_file(folder / QUESTIONS, to_lines(question_line(row) for row in questions))
        write_file(folder / REJECTED, to_lines(one.to_json() for one in self._rejected))
        report["files"] = {name: hash_file(folder / name) for name in (EXAMPLES, QUESTIONS)}
        write_file(folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
        return report

    def _tell_whether_they_split(self, rows: Sequence[Example]) -> None:
        """Says where a training could not validate: pages of one pattern ask nearly the same, and stay together."""
        data = self.app.config.data
        try:
            if data.validation is None:
                validating(lambda: iter(rows), data.split.validation_share, self.app.fixed_seed, by=data.split.by)
        except UsageError:
            self.app.reporter.say(
                "All examples are related, so that `ragft data split` leaves none to validate: give more documents, or "
                "name a file in data.validation."
            )

    def _nothing(self, taught: Side, asked: Side) -> str:
        lacking = "examples" if not taught.found else "questions"
        counts = ", ".join(f"{check}: {count}" for check, count in self._counts().items()) or "there was no candidate"
        first = f"; the first: {self._rejected[0].reason}" if self._rejected else ""
        writer = (
            "let a model write them (data.generate.by = both)"
            if self.settings.by == "structure"
            else "let a larger model write them (data.generate.server)"
        )
        return (
            f"No {lacking} could be verified ({counts}{first}): give more documents, change the templates in "
            f"{self.material.templates}, or {writer}."
        )

    def _verified(self, candidates: Sequence[Candidate], had: Sequence[Candidate]) -> list[Candidate]:
        """Those that pass every check that needs no search."""
        passed = []
        for candidate in candidates:
            if fault := self.material.checks.fault(candidate):
                self._rejected.append(fault)
            else:
                passed.append(candidate)
        examples, questions = self.material.existing
        passed, copies = without_copies(passed, had, examples, questions)
        self._rejected += copies
        return passed

    def _settle(
        self, sides: Sequence[Side], verified: Sequence[Candidate], searches: Kept, retriever: Retriever,
        accepted: Callable[[list[Candidate], Mapping[str, list[Chunk]]], list[Candidate]] = lambda some, _: some,
    ) -> None:  # fmt: skip
        """Fills the sides from candidates that are verified but for what the retriever finds.

        Args:
            accepted: leaves out those that fail a last check, which is told what was found for each.
        """
        with self.app.reporter.progress("Verifying") as advance:
            for side in sides:
                queues = {shape: in_turn([one for one in verified if one.shape == shape
                                          and one.place.in_questions == side.in_questions])
                          for shape in SHAPES}  # fmt: skip
                for shape in SHAPES:
                    had = sum(candidate.shape == shape for candidate in side.candidates)
                    self._fill(side, queues[shape], side.wanted[shape] - had, searches, retriever, accepted)
                    advance(sum(len(one.found) for one in sides), sum(one.total for one in sides), "")
                for shape in SHAPES:  # what one shape lacks, others make up for
                    if shape != "unanswerable":
                        self._fill(side, queues[shape], side.total, searches, retriever, accepted)

    def _fill(
        self, side: Side, queue: Iterator[Candidate], wanted: int, searches: Kept, retriever: Retriever,
        accepted: Callable[[list[Candidate], Mapping[str, list[Chunk]]], list[Candidate]],
    ) -> None:  # fmt: skip
        """Takes candidates of one shape until so many are verified, or the side is full."""
        top_k = self.app.config.index.search.top_k
        while (missing := min(wanted, side.lacking)) > 0:
            batch = list(islice(queue, min(missing, _BATCH)))
            if not batch:
                return
            found = self._searched(batch, searches, retriever)
            kept = []
            for candidate in batch:
                stated = stated_by(candidate, found[candidate.id]) if candidate.shape == "unanswerable" else ""
                if stated:
                    self._rejected.append(Rejected(candidate, "stated", f"{stated} seems to state it"))
                else:
                    kept.append(candidate)
            for candidate in accepted(kept, found):
                rank = rank_of(candidate, found[candidate.id])
                side.found.append((candidate, bool(candidate.sections) and (rank is None or rank > top_k)))
                wanted -= 1

    def _searched(
        self, batch: Sequence[Candidate], searches: Kept, retriever: Retriever
    ) -> dict[str, list[Chunk]]:  # fmt: skip
        """What the retriever finds for each candidate, by its id; every search is made once."""
        settings = self.app.config.index.search.model_dump(mode="json")
        head = json.dumps([self.material.snapshot.id, settings, self.app.encoder_hashes(), DEPTH], sort_keys=True)
        keys = {one.id: blake3(f"{head}\0{one.asked}".encode()).hexdigest()[:24] for one in batch}
        waiting = [one for one in batch if searches.get(keys[one.id]) is None]
        if waiting:
            depth = DEPTH * self.app.config.index.search.top_k
            hits = [one.hits for one in retriever.search([one.asked for one in waiting], depth)]
            names = [{"hits": [hit.chunk_id for hit in own]} for own in hits]
            searches.keep_all({keys[one.id]: own for one, own in zip(waiting, names, strict=True)})
        chunks = self.material.chunks
        return {
            one.id: [chunks[name] for name in (searches.get(keys[one.id]) or {})["hits"] if name in chunks]
            for one in batch
        }

    # --- the model

    @cached_property
    def _model_name(self) -> str:
        return model_name(self.app)

    def _asks(self, side: Side, lacking: int) -> list[Ask]:
        """Requests that should give so many verified rows."""
        if lacking <= 0:
            return []
        total = max(1, sum(side.wanted[shape] for shape in TASKS))
        shares = {shape: side.wanted[shape] / total for shape in TASKS}
        per = {shape: self.settings.per_request if shape == "single" else 1 for shape in TASKS}
        counts = {shape: round(lacking * shares[shape] / per[shape] / _YIELD + 0.499) for shape in TASKS}
        # The shapes take turns, so that what is interrupted has some of each.
        order = cycle(TASKS)
        shapes: list[Shape] = []
        while sum(counts.values()):
            shape = next(order)
            if counts[shape]:
                counts[shape] -= 1
                shapes.append(shape)
        places, settings = self.material.places, self.settings
        own = [one for one in self.material.sections if places[one.source].in_questions == side.in_questions]
        return asks_about(
            own, places, shapes, self.material.wording, settings.per_request, settings.max_answer_words,
            self.app.fixed_seed,
        )  # fmt: skip

    def _ask(self, sides: Sequence[Side], replies: Kept, searches: Kept, retriever: Retriever) -> None:
        """Lets the model fill what the sides lack."""
        with asyncio.Runner() as runner:
            model = WritingModel(self.app, replies, runner)
            self._unanswered, self._spent = model.unanswered, model.spent
            runner.run(model.start())
            try:
                asks = [ask for side in sides for ask in self._asks(side, side.lacking)]
                said = model.said([ask.messages for ask in asks], self.settings.max_tokens, "Asking the model")
                candidates: list[Candidate] = []
                refusal = self.app.config.answer.refusal.strip()
                wording, places = self.material.wording, self.material.places
                for ask, reply in zip(asks, said, strict=True):
                    if reply is None:
                        continue
                    found, faults = read_reply(ask, reply["text"], reply["cut_off"], wording, refusal, places)
                    candidates += found
                    self._rejected += faults

                def accepted(some: list[Candidate], found: Mapping[str, list[Chunk]]) -> list[Candidate]:
                    return self._checked(some, found, model) if self.settings.check else some

                self._settle(sides, self._verified(candidates, settled(sides)), searches, retriever, accepted)
            finally:
                runner.run(model.close())

    def _checked(
        self, some: Sequence[Candidate], found: Mapping[str, list[Chunk]], model: WritingModel
    ) -> list[Candidate]:  # fmt: skip
        """Those that the model answers itself as they say."""
        top_k = self.app.config.index.search.top_k
        asked = [check_messages(one, [chunk.passage for chunk in found[one.id][:top_k]]) for one in some]
        kept = []
        for candidate, reply in zip(some, model.said(asked, _CHECK_TOKENS, "Checking"), strict=True):
            fault = "the check got no reply" if reply is None else check_fault(candidate, reply["text"])
            if fault:
                self._rejected.append(Rejected(candidate, "check", fault, "" if reply is None else reply["text"][:300]))
            else:
                kept.append(candidate)
        return kept

    # --- what is told

    @contextmanager
    def _kept(self, name: str) -> Iterator[Kept]:
        keys = ("hits",) if name == SEARCHES else ("text", "cut_off")
        path = self.app.workspace / GENERATE.folder / name
        with kept_in(path, busy="generating examples", what="line of what was kept", keys=keys) as kept:
            yield kept

    def _counts(self) -> dict[str, int]:
        return dict(Counter(one.check for one in self._rejected).most_common())

    def _report(self, sides: Sequence[Side], estimate: Estimate, seconds: float) -> dict[str, Any]:
        taught, asked = sides
        told: dict[str, Any] = {
            "estimate": asdict(estimate),
            "facts": dict(Counter(one.kind for one in self.material.facts)),
        }
        for name, side in (("examples", taught), ("questions", asked)):
            told[name] = {
                "count": len(side.found), "wanted": side.total,
                "groups": len({candidate.place.group for candidate in side.candidates}),
                "hard": sum(hard for _, hard in side.found),
                "shapes": dict(Counter(candidate.shape for candidate in side.candidates)),
                "ways": dict(Counter(candidate.way for candidate in side.candidates)),
            }  # fmt: skip
        cost = self.app.config.evaluate.cost
        prompts, answers = self._spent["prompt_tokens"], self._spent["answer_tokens"]
        told["rejected"] = self._counts()
        told["model"] = {
            "requests": self._spent["requests"], "prompt_tokens": prompts, "answer_tokens": answers,
            "price": cost.of_tokens(prompts, answers), "currency": cost.currency,
            "seconds": round(self._spent["milliseconds"] / 1000, 1),
        }  # fmt: skip
        told["unanswered_requests"] = len(self._unanswered)
        told["first_unanswered"] = next(iter(self._unanswered.values()), None)
        told["seconds"] = round(seconds, 1)
        return told


def _refuse_edited(folder: Path) -> None:
    """Refuses to replace files that were not written by this command, or were changed since."""
    try:
        written = json.loads((folder / REPORT).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        written = {}
    for name in (EXAMPLES, QUESTIONS):
        if (folder / name).exists() and written.get(name) != hash_file(folder / name):
            raise UsageError(
                f"{folder / name} was edited, or not written by `ragft data generate`: move it elsewhere, or set "
                "data.generate.folder to another folder."
            )


def _hard(hard: bool) -> tuple[str, ...]:
    return ("hard",) if hard else ()
