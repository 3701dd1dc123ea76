"""A training row as the model sees it: which tokens are read, and which are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from ragft.data.rows import Row
from ragft.errors import UsageError
from ragft.templates import Template, TrainOn


def shown_row(
    rows: Sequence[Row], number: int, template: Template, train_on: TrainOn = "last"
) -> tuple[dict[str, Any], Text]:
    """Values and text of a training row; in the text, trained tokens are green and separated by `|`.

    Raises:
        UsageError: there is no such row.
    """
    if number >= len(rows):
        raise UsageError(f"There are {len(rows)} training rows: choose one from 0 to {len(rows) - 1}.")
    row = rows[number]
    rendered = template.training(row.messages, train_on)
    pieces = [str(template.tokenizer.decode([token])) for token in rendered.ids]
    text = Text()
    text.append(f"row {number} of {len(rows)}, {row.kind}, example {row.example_id}, {_passages(row)}", style="bold")
    text.append(f"{len(rendered.ids)} tokens, {sum(rendered.trained)} trained\n", style="bold")
    for piece, trained in zip(pieces, rendered.trained, strict=True):
        text.append(f"{piece}|" if trained else piece, style="green" if trained else "dim")
    if row.rejected:
        text.append(f"\nworse answer: {row.rejected}", style="red")
    values = {**row.to_json(), "token_ids": list(rendered.ids), "trained": list(rendered.trained), "tokens": pieces}
    return values, text


def _passages(row: Row) -> str:
    """What is special about the passages of a row, each part with a comma behind it."""
    told = [f"the answer in {_marked(row.gold)}"] if row.gold else []
    told += [f"{_marked(row.made_up)} made up"] if row.made_up else []
    told += ["with an order in a passage"] if row.adversarial else []
    return "".join(f"{one}, " for one in told)


def _marked(numbers: Sequence[int]) -> str:
    return "".join(f"[{number}]" for number in numbers)
