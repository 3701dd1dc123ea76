"""The base setups choose among declared prompts on held-out questions, and are compared on the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.domains import Quiet
from support.evaluated import COUNT, Evaluated, evaluated
from support.fakes import FakeEngine

from ragft.artifacts import Artifact
from ragft.config import Config
from ragft.data.rows import Row
from ragft.engine.base import ChatRequest, Completion
from ragft.errors import RagftError, UsageError
from ragft.pipeline import Pipeline
from ragft.setups import SETUPS
from ragft.stages import arms
from ragft.stages.asking import setups_with_passages
from ragft.stages.evaluation import evaluate, score
from ragft.stages.prompt_choice import served
from ragft.stages.records import records

VARIANTS = [{"prompt": "passages-first"}, {"prompt": "question-first"}, {"prompt": "format-last"}]
CHOOSING = {"prompts": VARIANTS, "choose_share": 0.4, "max_failed": 0.5}
SYSTEM = Config(name="desk").prompt.system
UNTUNED = ("prompt-only", "rag-only")

Answers = Callable[[str, str], bool]
"""Whether a turn, for the question in it, is answered rightly."""


class Choosy(FakeEngine):
    """Answers rightly where it is said to, and otherwise with what is neither right nor in the format."""

    answers: Answers = staticmethod(lambda turn, question: turn.endswith(SYSTEM))

    async def chat(self, request: ChatRequest) -> Completion:
        turn = request.messages[-1]["content"]
        question = next(part for part in turn.split("\n\n") if part.startswith("Question: "))
        self.tokens = ["2027-04-30"] if self.answers(turn, question.removeprefix("Question: ")) else ["I cannot tell"]
        return await super().chat(request)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)
    monkeypatch.setattr(Evaluated, "new_engine", Choosy)
    return made


def comparison(artifact: Artifact) -> dict[str, Any]:
    return dict(json.loads((artifact.folder / "comparison.json").read_text()))


def test_a_base_that_keeps_the_form_only_where_it_stands_last_gets_it_there(run: Evaluated) -> None:
    app = run.application(evaluate=CHOOSING)
    held_out, compared = ({one.id for one in part} for part in (app.held_out, app.questions))
    assert len(held_out) == 3 and held_out | compared == {f"q{n}" for n in range(COUNT)} and not held_out & compared
    artifact = evaluate(app)
    found = comparison(artifact)
    assert found["questions"] == len(compared)
    assert {row["question_id"] for row in map(json.loads, (artifact.folder / "scores.jsonl").open())} == compared
    exact = {name: figures["exact_match"] for name, figures in found["setups"].items()}
    assert [(name, exact[name]["mean"], exact[name]["n"]) for name in SETUPS] == [
        ("prompt-only", 1.0, 4), ("rag-only", 1.0, 4), ("fine-tuned", 0.0, 4), ("hybrid", 0.0, 4),
    ]  # fmt: skip
    for name in UNTUNED:
        choice = found["prompts"][name]
        assert (choice["chosen"], choice["prompt"], choice["n"], choice["clusters"]) == ("format-last", *CHOSEN_ON)
        assert choice["variants"]["format-last"]["exact_match"] == {**RIGHT, **interval(choice, "format-last")}
        assert choice["variants"]["passages-first"]["exact_match"]["mean"] == 0.0
    # Without passages, the first two are one prompt.
    assert list(found["prompts"]["prompt-only"]["variants"]) == ["passages-first", "format-last"]
    assert list(found["prompts"]["rag-only"]["variants"]) == ["passages-first", "question-first", "format-last"]
    said = "The prompt of rag-only was chosen on 3 held-out questions, which are in no other figure: format-last, "
    for file in ("report.html", "report.md"):
        assert said in (artifact.folder / file).read_text(encoding="utf-8"), file


CHOSEN_ON = ("format-last", 3, 3)
RIGHT = {"mean": 1.0, "n": 3, "clusters": 3, "failed": 0}


def interval(choice: dict[str, Any], name: str) -> dict[str, float]:
    """The ends of an interval that is one."""
    row = choice["variants"][name]["exact_match"]
    assert 0 < row["low"] < row["mean"] == row["high"]
    return {key: row[key] for key in ("low", "high")}


@pytest.mark.medium
def test_answers_that_exist_are_chosen_from_and_compared_again_without_an_engine(run: Evaluated) -> None:
    with pytest.raises(RagftError, match="no answers of prompt-only"):
        score(run.application(evaluate=CHOOSING))
    first = run(evaluate=CHOOSING)
    asked = sum(run.asked().values())
    assert asked == 4 * len(SETUPS) + 3 * (2 + 3)
    assert score(run.application(evaluate=CHOOSING)).fingerprint == first.fingerprint
    # One prompt more asks only what is new: the held-out questions, with it.
    run(evaluate={**CHOOSING, "prompts": [*VARIANTS[1:], VARIANTS[0]]})
    assert sum(run.asked().values()) == asked
    suite = setups_with_passages(run.application(evaluate=CHOOSING), "change")
    assert [(one.name, one.arrangement) for one in suite] == [("rag-only", "format-last"), ("hybrid", "passages-first")]


@pytest.mark.medium
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 10**9))
def test_the_choice_never_sees_the_questions_that_are_compared(
    run: Evaluated, luck: list[bool], workspace: int
) -> None:
    """Whatever is answered to them: on the held-out questions, question-first is right, and nothing else."""
    app = run.application(evaluate=CHOOSING, workspace=run.folder / f"out-{workspace}")
    held_out = {one.question for one in app.held_out}

    def answers(turn: str, question: str) -> bool:
        kind = 0 if turn.endswith(SYSTEM) else 1 if turn.startswith("Question: ") else 2
        return kind == 1 if question in held_out else luck[4 * kind + int(question[9]) % 4]

    Choosy.answers = staticmethod(answers)
    try:
        found = records(app)
    finally:
        Choosy.answers = staticmethod(lambda turn, question: turn.endswith(SYSTEM))
    assert found["rag-only"].setup.arrangement == "question-first"
    assert found["prompt-only"].choice is not None and found["prompt-only"].choice.chosen == "passages-first"


def test_equals_go_to_the_one_that_keeps_the_form_and_then_to_the_first(run: Evaluated) -> None:
    def chosen(answers: Answers, folder: str) -> str:
        Choosy.answers = staticmethod(answers)
        format_of = {"format": r"2027-04-30", "value": r"(\d{4})"}  # the year alone: right in neither form
        app = run.application(evaluate=CHOOSING, answer=format_of, workspace=run.folder / folder)
        choice = records(app)["rag-only"].choice
        assert choice is not None
        return choice.chosen

    try:
        assert chosen(lambda turn, question: turn.startswith("Question: "), "one") == "question-first"
        assert chosen(lambda turn, question: True, "two") == "passages-first"
    finally:
        Choosy.answers = staticmethod(lambda turn, question: turn.endswith(SYSTEM))


def test_without_variants_nothing_is_held_out_or_chosen(run: Evaluated) -> None:
    app = run.application()
    assert app.held_out == () and app.questions == app.all_questions
    artifact = evaluate(app)
    assert comparison(artifact)["prompts"] == {}
    assert "prompt of" not in (artifact.folder / "report.md").read_text(encoding="utf-8")
    assert not any("prompt" in one.records.manifest["inputs"] for one in records(app).values())


def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = [
        Row(f"e{n}", kind, ({"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Asked {n}"},
            {"role": "assistant", "content": f"Said {n}"}))
        for n, kind in enumerate(("closed-book", "gold", "gold"))
    ]  # fmt: skip
    monkeypatch.setattr(arms, "mix", lambda app: None)
    monkeypatch.setattr(arms, "rows", lambda app, part: mixed)


def test_what_is_measured_is_what_is_served(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch)
    untuned = {"rag-only": {"prompt": "format-last", "shots": 1}}
    app = run.application(prompt={"untuned": untuned}, evaluate={"setups": ["rag-only"]})
    measured = records(app)["rag-only"]
    (engine,) = run.engines
    asked = engine.requests[0].messages
    (question, *_) = app.questions
    hits = run.retriever.search([question.question])[0]
    setup = served(app, "rag-only")
    assert setup == measured.setup
    pipeline = Pipeline(app.config, {}, None)
    assert pipeline.render(setup, question.question, hits).messages == asked
    assert [turn["role"] for turn in asked] == ["system", "user", "assistant", "user"]
    assert asked[-1]["content"].endswith(SYSTEM)
    # A client's own system prompt replaces the configured one, also where the form is repeated.
    own = pipeline.render(setup, "When?", hits, history=[{"role": "system", "content": "Be brief."}]).messages
    assert [turn["content"] for turn in own[:2]] == ["Be brief.", asked[1]["content"]]
    assert own[-1]["content"].endswith("Be brief.")
    # A tuned model is asked as it was trained.
    assert served(app, "hybrid") == SETUPS["hybrid"]


def test_serving_another_prompt_than_was_chosen_is_said(run: Evaluated) -> None:
    app = run.application(evaluate=CHOOSING)
    assert served(app, "rag-only") == SETUPS["rag-only"]
    assert isinstance(app.reporter, Quiet)
    assert "whichever of evaluate.prompts was best: set prompt.untuned" in app.reporter.said[-1]


def test_a_prompt_that_has_no_room_for_a_question_is_refused(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch)
    sections = {"evaluate": {**CHOOSING, "prompts": [VARIANTS[0], {"shots": 2}], "setups": ["rag-only"]}}
    app = run.application(**sections, engine={"max_num_seqs": 2, "max_model_len": 64, "max_tokens": 40})
    monkeypatch.setattr(FakeEngine, "prompt_length", lambda self, messages, tools=None: 16 * len(messages))
    with pytest.raises(UsageError, match=r"The 2 examples in the prompt of rag-only do not fit: .* takes 96 tokens"):
        records(app)


def test_examples_that_are_not_there_are_missed_before_anything_is_asked(run: Evaluated) -> None:
    with pytest.raises(UsageError, match=r"`shots`\), and there is no file .*no-examples\.jsonl"):
        run(evaluate={**CHOOSING, "prompts": [VARIANTS[0], {"shots": 2}]})
    assert run.engines == []


@pytest.mark.parametrize("limit", [None, 1])
def test_questions_about_one_document_cannot_be_parted(run: Evaluated, limit: int | None) -> None:
    if limit is None:
        path = run.folder / "questions.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "sources": ["node.md"]}) + "\n" for row in rows))
    with pytest.raises(UsageError, match=r"No question can be held out .* about one document"):
        run(evaluate={**CHOOSING, "limit": limit})
    assert run.engines == []


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"evaluate": {"prompts": VARIANTS[:1]}}, "no choice"),
        ({"evaluate": {"prompts": [*VARIANTS, {"shots": 0}]}}, "passages-first twice"),
        ({"evaluate": {"choose_share": 1.0}}, "less than 1"),
        ({"prompt": {"untuned": {"hybrid": {}}}}, "prompt-only"),
    ],
)
def test_what_is_no_choice_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate({"name": "desk", **sections})
