"""Worse answers have one fault, are made of the examples alone, and can be read again as examples."""

from __future__ import annotations

from collections import Counter

from ragft.data.examples import Example, example_of
from ragft.data.preferences import Fault, Rules, Worse, is_earlier, pair_row, with_worse
from ragft.data.sources import Source
from ragft.patterns import Bounded

REFUSAL = "Answer: unknown"
FORM = Bounded(r"Answer: .+", "answer.format")
RULES = Rules(Bounded(r"Answer: (.*)", "answer.value"), lambda text: FORM.fullmatch(text) is not None, REFUSAL)
EXAMPLES = [
    Example(f"e{n}", f"When does X{n} end?", f"Answer: 2027-03-{n + 10} [1]", (Source("a.md"),), "g", ("when",))
    for n in range(12)
] + [Example(f"r{n}", f"Who owns Y{n}?", REFUSAL) for n in range(3)]


def worse() -> dict[str, tuple[Example, Fault | None, str]]:
    return {one.id: (one, worse.fault, worse.text) for one, worse in with_worse(EXAMPLES, RULES, 1) if worse}


def test_faults_have_about_the_same_share_and_refusals_are_answered() -> None:
    counts = Counter(fault for _, fault, _ in worse().values())
    assert counts == {"value": 3, "stale": 3, "uncited": 3, "form": 3, "unrefused": 3}


def test_a_worse_answer_has_its_fault_and_no_other() -> None:
    for example, fault, text in worse().values():
        own = RULES.value_in(example.answer)
        value, is_cited, is_formed = RULES.value_in(text), "[1]" in text, FORM.fullmatch(text) is not None
        if fault in ("value", "stale"):
            assert value != own and is_cited and is_formed and (fault == "value" or value < own)
        elif fault == "uncited":
            assert value == own and not is_cited and is_formed
        elif fault == "form":
            assert own in text and not is_formed
        else:
            assert example.answer == REFUSAL and is_formed and value != "unknown" and not is_cited


def test_a_worse_answer_that_was_written_stays() -> None:
    given = Example("g", "q?", "Answer: 2027-03-10 [1]", (Source("a.md"),), rejected="No.")
    assert list(with_worse([given], RULES, 0)) == [(given, Worse("No."))]


def test_what_cannot_be_made_worse_stays_without() -> None:
    plain = Example("p", "q?", "It is so.")
    assert list(with_worse([plain], Rules(None, None, REFUSAL), 0)) == [(plain, None)]
    assert "rejected" not in pair_row(plain, None)


def test_rows_are_read_again_as_the_same_examples_with_what_is_worse() -> None:
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
             {"role": "assistant", "content": "Hello"})  # fmt: skip
    one = Example("h", "And then?", "Answer: 4.2 [1]", (Source("a.md"),), "g", ("t",), turns)
    for example, fault, text in [*worse().values(), (one, "value", "Answer: 4.9 [1]")]:
        row = pair_row(example, Worse(text, fault))
        again = example_of(row, "file, line 1")
        assert again is not None and again.rejected == text and row["origin"] == f"rejected: {fault} of answer"
        assert (again.question, again.answer, again.sources, again.tags, again.history) == (
            example.question, example.answer, example.sources, example.tags, example.history,
        )  # fmt: skip


def test_what_a_setup_said_comes_before_what_is_made() -> None:
    said = {"e0": Worse("Answer: never [1]", "value", "hybrid"), "unknown": Worse("x", "value", "hybrid")}
    found = {one.id: (one, worse) for one, worse in with_worse(EXAMPLES, RULES, 1, said)}
    assert found["e0"][1] == said["e0"] and all(worse and not worse.by for _, worse in list(found.values())[1:])
    assert pair_row(*found["e0"])["origin"] == "rejected: value, said by hybrid"


def test_only_dates_in_figures_and_versions_are_earlier() -> None:
    assert is_earlier("2026-12-31", "2027-01-01") and is_earlier("v3.9", "3.10") and not is_earlier("3.10", "3.9")
    assert not is_earlier("never", "2027-01-01") and not is_earlier("2027-01-01", "2027-01-01")
