"""`serve.split`: what cannot be an experiment is refused when the configuration is read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ragft.config import Config

TWO = {"now": {"setup": "hybrid", "share": 0.5}, "tried": {"setup": "rag-only", "share": 0.5}}
SETUPS = ["hybrid", "rag-only", "fine-tuned"]


def config(split: dict[str, Any], **serve: Any) -> Config:
    return Config.model_validate({"name": "trains", "serve": {"setups": SETUPS, "split": split, **serve}})


def arm(**values: Any) -> dict[str, Any]:
    return {"setup": "hybrid", **values}


def test_arms_with_shares_and_shadows_are_taken() -> None:
    split = config({"arms": {**TWO, "beside": arm(model="abcd", shadow=True)}}).serve.split
    assert split.control == "now" and split.shares == {"now": 0.5, "tried": 0.5}
    assert config({"arms": {"now": arm(share=1), "beside": arm(model="abcd", shadow=True)}})
    assert config({"arms": {"now": arm(share=0.5), "again": arm(share=0.5)}})  # to see that nothing differs
    assert not config({}).serve.split.arms


@pytest.mark.parametrize(
    ("split", "told"),
    [
        (
            {"arms": {**TWO, "more": arm(share=0.2)}},
            "has shares that sum to 1.2 instead of 1 (now 0.5, tried 0.5, more",
        ),
        ({"arms": {"now": arm(share=1)}}, "has one arm, now, and nothing to compare it with"),
        ({"arms": {"now": arm(shadow=True), "tried": arm(share=1)}}, "begins with the shadow now"),
        ({"arms": {"now": arm(share=1), "tried": arm()}}, "gives the arm tried no share"),
        ({"arms": {"now": arm(share=0.5), "tried": arm(share=0.5, shadow=True)}}, "gives the shadow tried a share"),
        ({"arms": {"Now!": arm(share=1)}}, "'Now!' is no name of an arm"),
        ({"arms": {"now": arm(share=0.5), "tried": {"setup": "prompt-only", "share": 0.5}}}, "which is not deployed"),
        (
            {"arms": {"now": arm(share=0.5), "tried": {"setup": "rag-only", "share": 0.5, "model": "abcd"}}},
            "names a model, but rag-only answers with the base",
        ),
        ({"arms": {"now": arm(share=1), "tried": arm(model="../x", shadow=True)}}, "String should match pattern"),
        ({"arms": TWO, "name": "hybrid"}, "which is the name of a setup"),
        (
            {"arms": {"now": arm(share=0.5), "tried": {"setup": "fine-tuned", "share": 0.5}}},
            "split.decides is grounded, but fine-tuned has no passages",
        ),
        ({"arms": TWO, "decides": "format_valid"}, "serve.split.decides is format_valid but answer.format declares"),
        ({"arms": TWO, "decides": "luck"}, "Input should be 'grounded'"),
    ],
)
def test_what_is_no_experiment_is_refused_in_a_sentence(split: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(split)
    assert told in str(refused.value)


def test_nothing_can_be_grounded_where_that_is_not_looked_up() -> None:
    with pytest.raises(ValidationError, match="grounding is off"):
        config({"arms": TWO}, grounding="off")
