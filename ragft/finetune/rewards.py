"""What an answer earns while a model learns from its own answers: what can be verified without a judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragft.citations import parse_citations
from ragft.config import RewardsSection
from ragft.data.questions import Question
from ragft.evaluate.metrics import METRICS, Rules
from ragft.evaluate.metrics.form import format_valid
from ragft.evaluate.metrics.text import is_refusal, value_of
from ragft.evaluate.records import Record


@dataclass(frozen=True)
class Reward:
    """Rates answers to one training row, from 0 to 1; one that does not end earns nothing.

    Attributes:
        reference: the answer of the row.
        gold: positions (from 1) of the row's passages that hold the answer.
        decode: text of token ids, without control tokens.
        end: the token that ends an answer.
    """

    reference: str
    gold: tuple[int, ...]
    rules: Rules
    weights: RewardsSection
    decode: Callable[[Sequence[int]], str]
    end: int

    def __call__(self, ids: Sequence[int]) -> float:
        if not ids or ids[-1] != self.end:
            return 0.0
        parts = self.parts(self.decode(ids))
        earned = sum(getattr(self.weights, name) * part for name, part in parts.items())
        return earned / self._possible(parts)

    @property
    def rates(self) -> bool:
        """Whether anything that has a weight applies to the row."""
        return self._possible(self.parts("")) > 0

    def parts(self, answer: str) -> dict[str, float]:
        """What is right about an answer, from 0 to 1, by the names of the weights; what does not apply is left out."""
        # A row holds its question and its passages in one turn, so that what is asked is not told apart here.
        refuse = is_refusal(self.reference, self.rules, asked="")
        found = {
            "form": float(format_valid(answer, self.rules) is not False),
            "refusal": float(is_refusal(answer, self.rules, asked="") == refuse),
        }
        if refuse:
            return found
        question = Question("", "", (value_of(self.reference, self.rules),), (), answerable=True)
        found["value"] = float(METRICS["exact_match"].score(question, Record("", "", answer), self.rules).value == 1.0)
        if self.gold and (expected := parse_citations(self.reference)):
            cited = set(parse_citations(answer))
            right = len(cited & set(self.gold))
            found["citation"] = right / len(cited) * min(1.0, right / len(expected)) if cited else 0.0
        return found

    def _possible(self, parts: dict[str, float]) -> float:
        return sum(float(getattr(self.weights, name)) for name in parts)
