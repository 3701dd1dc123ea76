"""What an answer shows by itself: that it breaks off, and that it ends."""

from __future__ import annotations

import pytest

from ragft.data.audit.texts import break_off, is_closed


@pytest.mark.parametrize(
    "text", ["We accept the following payment methods:", "Yes, but only:", "Steps:\nDo all of these:"]
)
def test_a_lead_in_without_what_it_leads_to_breaks_off(text: str) -> None:
    assert break_off(text) == "it ends with ':'" and not is_closed(text)


@pytest.mark.parametrize("text", ["Answer: 12 EUR\nSource:", "Antwort: 12 EUR\nSiehe auch:"])
def test_an_empty_label_of_the_house_format_breaks_nothing_off(text: str) -> None:
    assert break_off(text) == "" and is_closed(text)


def test_what_stands_before_an_empty_label_may_break_off() -> None:
    assert break_off("Answer: by the\nSource:") == "it ends with 'the'"
