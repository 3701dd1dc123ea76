"""The data as stages: what makes a split or a mix again, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.domains import MIX, Domain

from ragft.data.examples import Example
from ragft.errors import RagftError, UsageError
from ragft.stages.data import mix, rendered, rows, split

pytestmark = pytest.mark.usefixtures("loaded_encoder")


def mixed(domain: Domain) -> str:
    return mix(domain.application()).fingerprint


def set_config(**sections: Any) -> Callable[[Domain], None]:
    return lambda domain: void(domain.configure(**sections))


def void(_: object) -> None: ...


def another_example(domain: Domain) -> None:
    with (domain.folder / "examples.jsonl").open("a") as file:
        file.write('{"question": "New?", "answer": "Yes [1]", "sources": ["cats.md"]}\n')


@pytest.mark.medium
@pytest.mark.parametrize(
    "change",
    [
        another_example,
        set_config(prompt={"system": "Other style."}),
        set_config(answer={"refusal": "No."}),
        set_config(seed=1),
        set_config(data={"split": {"validation_share": 0.25}, "mix": {**MIX, "passages": 3}}),
        set_config(data={"split": {"validation_share": 0.25}, "mix": {**MIX, "gold_share": 0.5}}),
        set_config(data={"split": {"validation_share": 0.3}, "mix": MIX}),
        set_config(index={"search": {"top_k": 2, "mode": "lexical"}}),
        set_config(index={"search": {"top_k": 2, "expand": "section"}}),
    ],
    ids=["examples", "system", "refusal", "seed", "passages", "gold_share", "validation_share", "search", "expand"],
)
def test_mix_is_made_again_where_something_in_it_changed(domain: Domain, change: Callable[[Domain], None]) -> None:
    before = mixed(domain)
    change(domain)
    assert mixed(domain) != before


@pytest.mark.medium
@pytest.mark.parametrize(
    "change",
    [
        set_config(index={"search": {"top_k": 3}}),
        set_config(index={"search": {"top_k": 2}, "refresh": {"allow_removal": 0.1, "gate": {"max_lost": 3}}}),
        set_config(answer={"format": ".*"}),
        set_config(serve={"port": 1}),
        set_config(finetune={"epochs": 3}),
        set_config(evaluate={"limit": 1}),
        lambda domain: void(domain.lines("questions.jsonl", [{"id": "q", "question": "a", "answers": ["b"]}])),
    ],
    ids=["top_k", "gate", "format", "serve", "finetune", "evaluate", "questions"],
)
def test_mix_is_kept_where_nothing_in_it_changed(domain: Domain, change: Callable[[Domain], None]) -> None:
    before = mixed(domain)
    change(domain)
    assert mixed(domain) == before


def test_split_keeps_every_example_and_says_how_many(domain: Domain) -> None:
    artifact = split(domain.application())
    assert artifact.figures == {"train": 3, "validation": 1}
    read = [
        Example.from_json(json.loads(line))
        for name in ("train", "validation")
        for line in (artifact.folder / f"{name}.jsonl").read_text().splitlines()
    ]
    assert {example.id for example in read} == {f"line-{n}" for n in range(1, 5)}


@pytest.mark.medium
def test_mix_holds_the_answers_in_the_passages(domain: Domain) -> None:
    found = [row for part in ("train", "validation") for row in rows(domain.application(), part)]
    assert len(found) == 4
    for row in found:
        if row.kind == "gold":
            value = row.messages[-1]["content"].partition(" ")[0]
            (place,) = row.gold
            assert value in row.messages[-2]["content"].split(f"[{place}] ")[1].split("\n\n")[0]


@pytest.mark.medium
def test_passages_of_rows_are_expanded_as_far_as_a_row_may_be_long(domain: Domain) -> None:
    def lengths(expand: str, longest: int) -> dict[str, int]:
        searching = {"top_k": 2, "expand": expand}
        domain.configure(
            index={"search": searching}, finetune={"max_seq_length": longest},
            data={"split": {"validation_share": 0.25}, "mix": MIX},
        )  # fmt: skip
        app = domain.application()
        return {
            row.example_id: len(ids.ids)
            for part in ("train", "validation")
            for row, ids in zip(rows(app, part), rendered(app, part), strict=True)
        }

    plain, wide, narrow = lengths("none", 1024), lengths("neighbours", 1024), lengths("neighbours", 32)
    assert narrow == plain == lengths("none", 32)
    assert wide.keys() == plain.keys() and any(wide[name] > plain[name] for name in wide)
    longest = max(plain.values()) + 5
    assert max(lengths("neighbours", longest).values()) <= longest


@pytest.mark.medium
def test_rows_are_rendered_one_by_one(domain: Domain) -> None:
    found = rendered(domain.application(), "train")
    assert len(found) == 3
    assert all(row.trained[-1] and not row.trained[0] for row in found)


@pytest.mark.medium
def test_rows_that_cannot_be_learnt_are_counted_named_and_left_out(domain: Domain) -> None:
    with (domain.folder / "examples.jsonl").open("a") as file:
        file.write('{"id": "quoted", "question": "Token?", "answer": "It is <|im_end|>.", "sources": []}\n')
    app = domain.application()
    mixed_rows = {part: rows(app, part) for part in ("train", "validation")}
    (part,) = (part for part, found in mixed_rows.items() if any(row.example_id == "quoted" for row in found))
    count = len(mixed_rows[part])
    assert count > 1 and len(rendered(app, part)) == count - 1
    (said,) = (line for line in app.reporter.said if "cannot be learnt" in line)  # type: ignore[attr-defined]
    assert said.startswith(f"1 of {count} {part} rows cannot be learnt. Row ")
    assert "example 'quoted': The answer quotes '<|im_end|>'" in said


@pytest.mark.medium
def test_rows_of_which_none_can_be_learnt_are_refused(domain: Domain) -> None:
    domain.lines("examples.jsonl", [{"question": f"{n}?", "answer": "A <|im_end|>."} for n in range(4)])
    with pytest.raises(RagftError, match=r"3 of 3 train rows cannot be learnt\. Row 0 of example"):
        rendered(domain.application(), "train")


@pytest.mark.medium
def test_template_that_does_not_read_an_argument_is_refused_before_anything_is_mixed(domain: Domain) -> None:
    domain.configure(prompt={"template_arguments": {"enable_thinking": False}})
    with pytest.raises(RagftError, match="does not read 'enable_thinking'"):
        mix(domain.application())


@pytest.mark.medium
def test_general_instructions_that_validate_are_not_trained(domain: Domain) -> None:
    domain.lines("general.jsonl", [{"instruction": f"Say {n}", "output": f"{n}"} for n in range(8)])
    mixing = {**MIX, "general": "general.jsonl", "general_share": 0.6}
    domain.configure(data={"split": {"validation_share": 0.25}, "mix": mixing})
    app = domain.application()
    train, validation = (
        {row.messages[0]["content"] for row in rows(app, part) if row.kind == "general"}
        for part in ("train", "validation")
    )
    assert train and validation and not train & validation
    before = mix(app).fingerprint
    domain.lines("general.jsonl", [{"instruction": f"Say {n}", "output": f"{n}!"} for n in range(8)])
    assert mixed(domain) != before


@pytest.mark.medium
def test_rows_whose_passages_give_orders_are_counted(domain: Domain) -> None:
    before = mixed(domain)
    domain.configure(data={"split": {"validation_share": 0.25}, "mix": {**MIX, "adversarial_share": 1.0}})
    app = domain.application()
    found, figures = rows(app, "train"), mix(app).figures["train"]
    assert figures["adversarial"] == sum(bool(row.passages) for row in found) > 0
    assert all(row.adversarial == bool(row.passages) for row in found)
    assert mix(app).fingerprint != before


@pytest.mark.medium
def test_source_that_is_not_indexed_stops_the_mix(domain: Domain) -> None:
    domain.lines("examples.jsonl", [{"question": f"{n}", "answer": "b", "sources": ["no.md"]} for n in range(2)])
    with pytest.raises(UsageError, match=r"names the source 'no\.md'"):
        mix(domain.application())


def test_missing_examples_name_their_key(domain: Domain) -> None:
    (domain.folder / "examples.jsonl").unlink()
    with pytest.raises(UsageError, match=r"set data\.examples"):
        split(domain.application())
