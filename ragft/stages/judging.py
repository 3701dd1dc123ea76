"""Judgements: what a judge says of answers that exist. It needs no engine, only the judge's endpoint."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import Artifact, remove
from ragft.config.judge import JudgeSection
from ragft.console import counted
from ragft.data.jsonl import to_lines
from ragft.errors import RagftError, UsageError
from ragft.evaluate.judges.calls import Cache, ask_all, opened_cache
from ragft.evaluate.judges.endpoint import Endpoint
from ragft.evaluate.judges.labels import Labels, read_labels
from ragft.evaluate.judges.plan import Plan, PreferenceRow, ScoreRow, plan
from ragft.evaluate.judges.rubric import OVERALL, RUBRIC_VERSION, Ask, Criterion
from ragft.evaluate.judges.summary import summarise
from ragft.evaluate.shares import clusters_of
from ragft.evaluate.statistics import STATISTICS_VERSION
from ragft.stages.answers import Answers
from ragft.stages.application import Application, Inputs
from ragft.stages.inputs import JUDGEMENT

SUMMARY_VERSION = 1
"""Raised whenever the same replies would give other figures."""

CALLS = "calls.jsonl"


@dataclass(frozen=True)
class Estimate:
    """What judging takes.

    Attributes:
        requests: all of them; `known` ones were answered before.
        characters: of the requests that are to be made.
    """

    requests: int
    known: int
    characters: int

    @property
    def sentence(self) -> str:
        left = self.requests - self.known
        known = f", {self.known:,} of which are answered already" if self.known else ""
        tokens = f"; about {self.characters / 4000:,.0f} thousand tokens of prompts" if left else ""
        return f"{self.requests:,} requests to the judge{known}{tokens}"


class Judging:
    """The judging of some answers, planned and not begun."""

    def __init__(self, app: Application, answers: Answers) -> None:
        """Plans it.

        Raises:
            UsageError: no judge is configured, a pair names a setup without answers, or the labels cannot be read.
        """
        settings = app.config.evaluate.judge
        if settings.base_url is None or settings.model is None:
            raise UsageError(
                "There is no judge: set evaluate.judge.base_url to an OpenAI-compatible endpoint and "
                "evaluate.judge.model to one of its models."
            )
        self.app, self.settings = app, settings
        self.base_url, self.model = settings.base_url, settings.model
        pairs = settings.pairs or tuple(itertools.combinations(answers.setups, 2))
        if settings.pairs:
            answers = answers.of(tuple(dict.fromkeys(itertools.chain(*pairs))), "evaluate.judge.pairs")
        if settings.ask == "preferences" and not pairs:
            raise UsageError("There are answers of one setup alone, and preferences need two: set evaluate.judge.ask.")
        known = frozenset(question.id for question in answers.questions)
        self.answers = answers.limited(settings.limit, app.config.seed)
        self.plan: Plan = plan(
            self.answers.questions, answers.records, _criteria(settings),
            setups=() if settings.ask == "preferences" else answers.setups,
            pairs=() if settings.ask == "scores" else pairs,
            refusal=app.config.answer.refusal, key_of=self._key,
        )  # fmt: skip
        self.labels = Labels()
        if settings.labels is not None:
            self.labels = read_labels(settings.labels, self.plan.criteria, self.plan.answers, known)

    @property
    def cache_file(self) -> Path:
        return self.app.workspace / JUDGEMENT.folder / CALLS

    def estimate(self) -> Estimate:
        """How many requests it takes; asks nothing."""
        with opened_cache(self.cache_file) as cache:
            return self._estimate(cache)

    def judged(self) -> Artifact:
        """The judgements: those that exist, or made now.

        Raises:
            RagftError: the judge is down or refuses to answer, or more judgements failed than
                `evaluate.judge.max_failed` allows.
        """
        for warning in self.warnings():
            self.app.reporter.say(warning)
        inputs = Inputs((JUDGEMENT,), self._values())
        existing = self.app.find(inputs)
        if existing is not None and existing.figures["unanswered_requests"]:
            remove(existing)  # what got no answer then may get one now
        return self.app.build(inputs, self._work)

    def warnings(self) -> list[str]:
        """What a reader of the judgements must know of the judge beforehand."""
        found = []
        tested = {self.app.config.model.base, *self.answers.setups}
        tested |= {record.model_version for record in self.answers.records if record.model_version}
        if _bare(self.model) in {_bare(name) for name in tested}:
            found.append(
                f"The judge, {self.model}, is one of the models that are judged; judges prefer answers of their own. "
                "Let another model judge, or calibrate it by labels of people (evaluate.judge.labels)."
            )
        if self.labels.left_out:
            found.append(f"{counted(self.labels.left_out, 'label')} left out: of answers that are not judged here.")
        return found

    def _key(self, ask: Ask) -> str:
        return ask.key(self.model, self.base_url, self.settings.max_tokens)

    def _estimate(self, cache: Cache) -> Estimate:
        waiting = [ask for key, ask in self.plan.asks.items() if cache.get(key) is None]
        characters = sum(len(turn["content"]) for ask in waiting for turn in ask.messages)
        return Estimate(len(self.plan.asks), len(self.plan.asks) - len(waiting), characters)

    def _values(self) -> dict[str, Any]:
        labels = self.app.hash_input(self.settings.labels, "evaluate.judge.labels")
        return {
            "answers": self.answers.fingerprint, "labels": labels, "refusal": self.app.config.answer.refusal,
            "rubric": RUBRIC_VERSION, "summary": SUMMARY_VERSION, "statistics": STATISTICS_VERSION,
        }  # fmt: skip

    def _work(self, folder: Path) -> dict[str, Any]:
        settings, say = self.settings, self.app.reporter.say
        endpoint = Endpoint(
            self.base_url, self.model, key_variable=settings.key_variable, max_tokens=settings.max_tokens,
            retries=settings.retries, timeout=settings.timeout,
        )  # fmt: skip
        with opened_cache(self.cache_file) as cache, self.app.reporter.progress("Judging") as advance:
            say(f"{self._estimate(cache).sentence} ({self.model} at {self.base_url})")
            failures = ask_all(
                self.plan.asks, endpoint, cache, concurrency=settings.concurrency, advance=advance
            )  # fmt: skip

            def find(key: str) -> Any:
                return cache.get(key) or failures[key]

            scores, preferences = self.plan.score_rows(find), self.plan.preference_rows(find)
        rows: list[ScoreRow | PreferenceRow] = [*scores, *preferences]
        failed = [row for row in rows if row.error is not None]
        if len(failed) > settings.max_failed * len(rows):
            raise RagftError(
                f"{len(failed)} of {len(rows)} judgements failed, more than evaluate.judge.max_failed = "
                f"{settings.max_failed} allows; the first: {failed[0].error}. Take another judge, or allow more."
            )
        summary = summarise(
            scores, preferences, self.plan.criteria, clusters_of(self.answers.questions), self.labels,
            seed=self.app.config.seed,
        )  # fmt: skip
        write_file(folder / "judgements.jsonl", to_lines(asdict(row) for row in rows))
        told = {
            "judge": {"model": self.model, "base_url": self.base_url},
            "criteria": [asdict(criterion) for criterion in self.plan.criteria],
            "questions": len(self.answers.questions), "requests": len(self.plan.asks),
            "judgements": len(rows), "failed": len(failed), "warnings": self.warnings(), **summary.to_json(),
        }  # fmt: skip
        write_file(folder / "judgement.json", json.dumps(told, indent=1, ensure_ascii=False).encode())
        return {
            "requests": len(self.plan.asks), "judgements": len(rows), "failed": len(failed),
            "unanswered_requests": len(failures),
        }  # fmt: skip


def _criteria(settings: JudgeSection) -> Sequence[Criterion]:
    declared = [Criterion(**criterion.model_dump()) for criterion in settings.criteria]
    return declared or [OVERALL]


def _bare(model: str) -> str:
    """The name of a model without owner or folder."""
    return Path(model).name.lower()
