"""Whether sources hold an answer, where no rule says what its value is."""

from __future__ import annotations

import pytest

from ragft.data.audit.support import is_supported
from ragft.data.examples import Example

SOURCE = "The limit is 80 euros a night, breakfast included."


@pytest.mark.parametrize(
    ("answer", "is_held"),
    [
        ("The limit is 80 euros a night.", True),
        ("The limit is 90 euros a night.", False),
        ("The limit is eighty euros a night.", True),
        ("It is 160 euros for two nights of 80 euros.", True),  # reckoned
        ("1. The euros a night.\n2. Breakfast is included.", True),
        ("In 2026 the limit is the same a night, breakfast included.", True),  # asked
    ],
)
def test_an_answer_whose_figures_no_source_has_is_not_supported(answer: str, is_held: bool) -> None:
    example = Example("e", "What is the limit in 2026?", answer)
    assert is_supported(example, [["Rates\n" + SOURCE]], None, "") is is_held
