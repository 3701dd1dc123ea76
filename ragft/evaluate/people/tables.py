"""What people said, as lines for the terminal: from the values of `opinion.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ragft.console import counted
from ragft.evaluate.judges.tables import kappa_text, off_half, share_text
from ragft.evaluate.verdict import p_text

Values = Mapping[str, Any]


def opinion_lines(told: Values) -> Iterator[str]:
    """The win rate first, then each person, then how far they agree."""
    a, b = told["a"], told["b"]
    apart = "" if off_half(told["rate"]) else ", which does not tell them apart"
    yield (
        f"{a} over {b}, by {told['criterion']}: {share_text(told['rate'])} of {counted(told['rate']['n'], 'question')}"
        f" ({p_text(told['p'])}){apart}."
    )
    if told["identical"] or told["unanswered"]:
        yield f"Of these, {told['identical']} have identical answers, and {told['unanswered']} an answer that failed."
    if told["unjudged"]:
        yield f"{counted(told['unjudged'], 'question')} of the sheet nobody judged; they do not count."
    for person in told["people"]:
        twice = "" if person["itself"]["mean"] is None else f"; the same twice in {share_text(person['itself'])}"
        missing = f"; {person['missing']} without a choice" if person["missing"] else ""
        yield (
            f"  {person['person']}: {a} {person['wins']}, equally good {person['ties']}, {b} {person['losses']}"
            f"{twice}{missing}"
        )
    if told["itself"]["raw"]["n"]:
        itself = told["itself"]
        yield f"People agree with themselves in {share_text(itself['raw'])}, kappa {kappa_text(itself)}."
    if told["alpha"] is not None:
        kappa = f", Cohen's kappa {kappa_text(told['kappa'])}" if told["kappa"] is not None else ""
        yield (
            f"People agree with each other in {share_text(told['alpha']['raw'])}, Krippendorff's alpha "
            f"{kappa_text(told['alpha'])}{kappa}."
        )
    if off_half(told["first"]):
        yield f"People prefer answer 1 in {share_text(told['first'])} of their preferences, wherever it is from."
