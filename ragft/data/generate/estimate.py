"""What generating takes, told before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from ragft.console import counted


@dataclass(frozen=True)
class Estimate:
    """What generating takes.

    Attributes:
        facts: that the structure of the documents states.
        candidates: that structure gives, before they are verified.
        requests: to the model, `known` ones of which were answered before.
        prompt_tokens: of the requests that are to be made, about.
        answer_tokens: of their replies, at most.
        price: of both, in `evaluate.cost.currency`; None where no prices of tokens are given.
    """

    documents: int
    facts: int
    candidates: int
    requests: int = 0
    known: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    price: float | None = None
    currency: str = ""

    @property
    def sentence(self) -> str:
        structure = (
            f"{counted(self.facts, 'fact')} in {counted(self.documents, 'document')}, which give "
            f"{counted(self.candidates, 'candidate')}"
        )
        if not self.requests:
            return f"{structure}; no model is asked."
        price = "" if self.price is None else f", about {self.price:.2f} {self.currency}"
        known = f", {self.known} of which are answered already" if self.known else ""
        return (
            f"{structure}; about {counted(self.requests, 'request')} to the model{known}: {self.prompt_tokens:,} "
            f"tokens of prompts and at most {self.answer_tokens:,} of replies{price}."
        )
