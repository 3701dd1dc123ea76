"""The texts of a tokenizer's chat templates, and the variables that they read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragft.errors import RagftError

RESERVED = frozenset(
    {
        "messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template",
        "tokenize", "strftime_now", "raise_exception", "padding", "truncation", "max_length", "return_tensors",
        "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "conversation",
    }
)  # fmt: skip
"""Names that are set for every template and are no arguments of anyone's."""


@dataclass(frozen=True)
class TemplateTexts:
    """The chat templates of a tokenizer.

    Attributes:
        by_name: their texts; the one for plain conversations is `default`.
        special: names of the tokenizer's special tokens, which are set for every template, too.
    """

    by_name: Mapping[str, str]
    special: frozenset[str] = frozenset()

    @classmethod
    def of(cls, tokenizer: Any) -> TemplateTexts:
        """
        Raises:
            RagftError: there is none for plain conversations.
        """
        found = getattr(tokenizer, "chat_template", None)
        texts = {"default": found} if isinstance(found, str) else found
        if not texts or not all(texts.values()):
            raise RagftError(
                "This model's tokenizer has no chat template, so there is no right way to ask it; use an "
                "instruction-tuned model, or add its chat_template.jinja to the model's folder."
            )
        if "default" not in texts:
            raise RagftError(
                f"This model's tokenizer has chat templates named {', '.join(sorted(texts))} but none named default, "
                "which plain conversations need; add it as chat_template.jinja to the model's folder."
            )
        return cls(dict(texts), frozenset(getattr(tokenizer, "special_tokens_map", {})))

    def read(self, name: str) -> bool:
        """Whether one of them has a word for a variable of this name."""
        return any(re.search(rf"\b{re.escape(name)}\b", text) for text in self.by_name.values())

    def variables(self) -> set[str]:
        """Variables that the template for plain conversations reads and nothing sets for it."""
        import jinja2
        import jinja2.ext
        import jinja2.meta

        # The one extension of transformers that is no loop control: it marks answers, and sets nothing.
        text = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", self.by_name["default"])
        parser = jinja2.Environment(extensions=[jinja2.ext.loopcontrols], autoescape=True)
        try:
            found = jinja2.meta.find_undeclared_variables(parser.parse(text))
        except jinja2.TemplateError:
            return set()
        return {str(name) for name in found} - RESERVED - self.special
