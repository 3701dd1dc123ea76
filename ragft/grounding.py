"""Grounding of what users get, by `serve.grounding`: refuse where retrieval found too little, and say whether an answer
stands on the passages that it cites. `ragft ask` and the endpoint do so alike, over HTTP and over MCP.
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
from ragft.pipeline import Answer, Pipeline, Prompt, Retrieved
from ragft.setups import Setup


class Grounder:
    """`serve.grounding` of one configuration."""

    def __init__(self, config: Config) -> None:
        self._serve = config.serve
        self._rules = Rules.of(config.answer)

    def why_refuse(self, retrieved: Retrieved | None, options: Mapping[str, Any]) -> str | None:
        """Why a question is refused before anything is generated; None where it is answered."""
        below = self._serve.refuse_below
        if self._serve.grounding != "refuse" or below is None or retrieved is None or _prescribes_form(options):
            return None
        if not retrieved.hits:
            return "Nothing was found."
        best = best_scores(retrieved.hits).get(self._serve.refuse_by)
        if best is None or best >= below:
            return None
        return f"The best {self._serve.refuse_by} score of what was found is {best:.4g}, below {below:.4g}."

    def answering(
        self, pipeline: Pipeline, setup: Setup, retrieved: Retrieved | None, options: Mapping[str, Any]
    ) -> tuple[Engine, str | None]:
        """What answers a question: the engine of its setup, or a refusal that is declared, with the reason.

        Args:
            retrieved: all that was found, of which a prompt may have room for a part.
            options: of OpenAI's request, as an engine gets them.
        """
        engine, refused = pipeline.engine_of(setup), self.why_refuse(retrieved, options)
        return (engine if refused is None else self._refusing(engine)), refused

    async def answer(
        self, pipeline: Pipeline, question: str, prompt: Prompt, retrieved: Retrieved | None
    ) -> tuple[Answer, dict[str, Any]]:
        """Answers a question, or refuses it.

        Args:
            retrieved: see `answering`.

        Returns:
            The answer, and its `grounding` and why it is `refused`, as the endpoint tells them.
        """
        engine, refused = self.answering(pipeline, prompt.setup, retrieved, {})
        answer = await pipeline.answer(prompt, engine)
        return answer, {"grounding": self.told(answer.text, question, prompt), "refused": refused}

    def _refusing(self, engine: Engine) -> Engine:
        """What answers in place of an engine where a question is refused."""
        return DeclaredAnswer(self._rules.refusal, engine.version)

    def told(self, text: str, question: str, prompt: Prompt) -> dict[str, Any] | None:
        """Whether an answer stands on its passages; None where that is not looked up, or there is nothing to."""
        if self._serve.grounding == "off":
            return None
        found = ground(text, question, [hit.passage for hit in prompt.hits], self._rules)
        return None if found is None else asdict(found)


def _prescribes_form(options: Mapping[str, Any]) -> bool:
    """Whether a caller prescribes the form of the answer, who would get a refusal of another form."""
    form, choice = options.get("response_format"), options.get("tool_choice")
    is_text = form is None or (isinstance(form, Mapping) and form.get("type") == "text")
    may_call = choice != "none" and bool(options.get("tools") or choice)
    return not is_text or "structured_outputs" in options or may_call
