"""A training row as the model sees it: which tokens are read, and which are learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from ragft.errors import UsageError
from ragft.prompts import render_training

if TYPE_CHECKING:
    from ragft.stages import Stages


def shown_row(stages: Stages, number: int) -> tuple[dict[str, Any], Text]:
    """Values and text of a row; in the text, `|` parts the tokens that are trained, and they are green.

    Raises:
        UsageError: there is no such row.
    """
    rows = stages.rows("train")
    if number >= len(rows):
        raise UsageError(f"There are {len(rows)} training rows: choose one from 0 to {len(rows) - 1}.")
    row = rows[number]
    rendered = render_training(stages.tokenizer, row.messages)
    pieces = [str(stages.tokenizer.decode([token])) for token in rendered.ids]
    text = Text()
    text.append(f"row {number} of {len(rows)}, {row.kind}, example {row.example_id}, ", style="bold")
    text.append(f"{len(rendered.ids)} tokens, {sum(rendered.trained)} trained\n", style="bold")
    for piece, trained in zip(pieces, rendered.trained, strict=True):
        text.append(f"{piece}|" if trained else piece, style="green" if trained else "dim")
    values = {
        **row.to_json(),
        "token_ids": list(rendered.ids),
        "trained": list(rendered.trained),
        "tokens": pieces,
    }
    return values, text
