"""What examples and questions are generated from: sections, the facts that they state, candidates, and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from index.durable import write_file
from ragft.console import counted
from ragft.data.examples import Example, read_examples
from ragft.data.generate.candidates import Candidate, Place, from_structure
from ragft.data.generate.facts import Fact, facts_in
from ragft.data.generate.sections import Section, document_groups, sections_of
from ragft.data.generate.verify import Checks
from ragft.data.generate.wording import Wording, first_wording, read_wording, to_yaml
from ragft.data.jsonl import read_objects
from ragft.data.questions import Question, read_questions
from ragft.data.sources import Source
from ragft.errors import UsageError
from ragft.stages.application import Application
from ragft.stages.index import training_snapshot

if TYPE_CHECKING:
    from index.documents.chunking import Chunk
    from index.store.snapshot import Snapshot

TEMPLATES = "templates.yaml"
_FEWEST = 3
"""Groups that are needed: for questions, to train on, and to validate."""


class Material:
    """Read when it is first asked for, and once."""

    def __init__(self, app: Application) -> None:
        self.app, self.settings = app, app.config.data.generate

    @cached_property
    def snapshot(self) -> Snapshot:
        return training_snapshot(self.app)

    @cached_property
    def chunks(self) -> dict[str, Chunk]:
        """The passages of the index by their id."""
        return {chunk.id: chunk for chunk in self.snapshot.chunks()}

    @cached_property
    def sections(self) -> list[Section]:
        """What may be asked about.

        Raises:
            UsageError: there is none.
        """
        found = sections_of(self.chunks.values())
        opened = [section for section in found if self.settings.restricted or not section.restricted]
        if len(opened) < len(found):
            closed = len({section.document_id for section in found if section.restricted})
            self.app.reporter.say(
                f"{counted(closed, 'document')} with access labels left out: a model tells everybody what it was "
                "trained on (data.generate.restricted)."
            )
        if not opened:
            raise UsageError(
                "The index holds no section that may be asked about: set index.documents.folder to your documents, or "
                "data.generate.restricted to true."
            )
        return opened

    @cached_property
    def facts(self) -> list[Fact]:
        return [fact for section in self.sections for fact in facts_in(section)]

    @cached_property
    def places(self) -> dict[Source, Place]:
        """Where each section belongs; the groups for questions hold about `question_share` of what can be asked."""
        joined = document_groups(self.sections)
        groups = {section.source: joined[section.document_id] for section in self.sections}
        if len(self._weighed(groups)) < _FEWEST:
            self.app.reporter.say(
                "Fewer than three documents state what can be asked, so examples and questions are told apart by "
                "chapters, not by documents."
            )
            groups = {section.source: str(section.source) for section in self.sections}
        weight = self._weighed(groups)
        ordered = sorted(weight, key=lambda name: blake3(f"{self.app.fixed_seed}\0{name}".encode()).digest())
        held_out: set[str] = set()
        # Two groups are left to train on, so that one of them can validate.
        for name in ordered[: -2 if len(ordered) >= _FEWEST else -1]:
            if sum(weight[one] for one in held_out) >= self.settings.question_share * weight.total():
                break
            held_out.add(name)
        return {
            # Rows of one table are documents of their own, and neighbours.
            section.source: Place(
                (group := groups[section.source]), joined[section.document_id].partition("#")[0], group in held_out
            )
            for section in self.sections
        }

    def _weighed(self, groups: Mapping[Source, str]) -> Counter[str]:
        """How much can be asked about each group that can be asked about."""
        weight = Counter(groups[fact.section.source] for fact in self.facts)
        if self.settings.by != "structure":
            weight.update(groups.values())
        return weight

    @cached_property
    def templates(self) -> Path:
        return self.settings.templates or self.settings.folder / TEMPLATES

    @cached_property
    def wording(self) -> Wording:
        """The templates; they are written where there are none."""
        if not self.templates.exists():
            text = to_yaml(first_wording(self.app.config.answer, self.facts))
            self.templates.parent.mkdir(parents=True, exist_ok=True)
            write_file(self.templates, text.encode())
            self.app.reporter.say(f"Wrote {self.templates}: edit how questions are worded there.")
        return read_wording(self.templates)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """What structure gives."""
        if self.settings.by == "model":
            return []
        refusal = self.app.config.answer.refusal.strip()
        return from_structure(self.facts, self.wording, self.places, refusal, self.app.fixed_seed)

    @cached_property
    def checks(self) -> Checks:
        return Checks.over(self.sections, self.facts, self.app.config.answer, self.settings.max_answer_words)

    @cached_property
    def existing(self) -> tuple[list[Example], list[Question]]:
        """What generated ones must not copy.

        Raises:
            UsageError: a file can be read neither as examples nor as questions.
        """
        examples: list[Example] = []
        questions: list[Question] = []
        for path in self.settings.avoid:
            _, first = next(read_objects(path, "examples or questions", "data.generate.avoid"))
            if "answers" in first or "answerable" in first:
                questions += read_questions(path)
            else:
                examples += read_examples(path, "data.generate.avoid")
        return examples, questions
