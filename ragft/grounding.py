"""Grounding of what users get, by `serve.grounding`: refuse where retrieval found too little, and say whether an answer
stands on the passages that it cites. `ragft ask` and the endpoint do so alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ragft.config import Config
from ragft.engine.base import Engine
from ragft.engine.declared import DeclaredAnswer
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.grounding import ground
from ragft.evaluate.suites.abstention import best_scores
from ragft.pipeline import Prompt, Retrieved

# A caller who prescribes the form of the answer would get one of another form.
_PRESCRIBED = frozenset({"response_format", "structured_outputs", "tools", "tool_choice"})


class Grounder:
    """`serve.grounding` of one configuration."""

    def __init__(self, config: Config) -> None:
        self._serve = config.serve
        self._rules = Rules.of(config.answer)

    def why_refuse(self, retrieved: Retrieved | None, options: Mapping[str, Any]) -> str | None:
        """Why a question is refused before anything is generated; None where it is answered."""
        below = self._serve.refuse_below
        if self._serve.grounding != "refuse" or below is None or retrieved is None or _PRESCRIBED & options.keys():
            return None
        if not retrieved.hits:
            return "Nothing was found."
        best = best_scores(retrieved.hits).get(self._serve.refuse_by)
        if best is None or best >= below:
            return None
        return f"The best {self._serve.refuse_by} score of what was found is {best:.4g}, below {below:.4g}."

    def refusing(self, engine: Engine) -> Engine:
        """What answers in place of an engine where a question is refused."""
        return DeclaredAnswer(self._rules.refusal, engine.version)

    def told(self, text: str, question: str, prompt: Prompt) -> dict[str, Any] | None:
        """Whether an answer stands on its passages; None where that is not looked up, or there is nothing to."""
        if self._serve.grounding == "off":
            return None
        found = ground(text, question, [hit.passage for hit in prompt.hits], self._rules)
        return None if found is None else asdict(found)
