"""Stages: what makes one run again, and what does not. New documents alone never ask for a new training."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Domain, Quiet

from index.errors import NoDocuments
from ragft import artifacts
from ragft.artifacts import Artifact, build
from ragft.config import load_config
from ragft.data.examples import Example
from ragft.errors import RagftError, UsageError
from ragft.stages import Stages, deploy, deployed_model

pytestmark = pytest.mark.usefixtures("loaded_encoder")
MIX = {"passages": 2, "gold_share": 1.0, "closed_book_share": 0.0}


def stages(domain: Domain) -> Stages:
    return Stages(load_config(domain.config), Quiet())


def mixed(domain: Domain) -> str:
    return stages(domain).mix().fingerprint


def test_new_documents_make_a_new_index_and_no_new_mix(domain: Domain) -> None:
    before = stages(domain).mix()
    snapshot = stages(domain).live_snapshot().id
    domain.page("mysql.md", "# MySQL\n\n## MySQL 8.0\n\nEnd of life: 2030-01-01\n")
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    assert stages(domain).refresh_index().snapshot_id != snapshot
    assert stages(domain).mix() == before


def test_documents_of_the_examples_are_apart_from_the_live_ones(domain: Domain) -> None:
    old = domain.folder / "old"
    (domain.folder / "documents").rename(old)
    (domain.folder / "documents").mkdir()
    domain.page("live.md", "# Live\n\nNothing of what the examples ask.\n")
    domain.configure(data={"documents": "old", "validation_share": 0.25, "mix": MIX})
    before = mixed(domain)
    rows = stages(domain).rows("train")
    assert all(not name.startswith("live.md") for row in rows for name in row.passages)
    domain.page("live.md", "# Live\n\nOther news.\n")
    assert mixed(domain) == before
    # These pages are what the examples say, so here a change counts.
    (old / "cats.md").write_text("# Cats\n\n## Kittens\n\nA kitten sleeps.\n")
    assert mixed(domain) != before


def test_a_missing_folder_is_refused_before_the_encoder_is_looked_for(domain: Domain) -> None:
    domain.configure(index={"documents": "elsewhere", "encoder": "no-such-encoder"})
    with pytest.raises(NoDocuments, match="elsewhere does not exist"):
        stages(domain).refresh_index()


def set_config(**sections: Any) -> Callable[[Domain], None]:
    return lambda domain: void(domain.configure(**sections))


def void(_: object) -> None: ...


def another_example(domain: Domain) -> None:
    with (domain.folder / "examples.jsonl").open("a") as file:
        file.write('{"question": "New?", "answer": "Yes [1]", "sources": ["cats.md"]}\n')


@pytest.mark.parametrize(
    "change",
    [
        another_example,
        set_config(prompt={"system": "Other style."}),
        set_config(prompt={"refusal": "No."}),
        set_config(seed=1),
        set_config(data={"validation_share": 0.25, "mix": {**MIX, "passages": 3}}),
        set_config(data={"validation_share": 0.25, "mix": {**MIX, "gold_share": 0.5}}),
        set_config(data={"validation_share": 0.3, "mix": MIX}),
        set_config(index={"top_k": 2, "mode": "lexical"}),
    ],
    ids=["examples", "system", "refusal", "seed", "passages", "gold_share", "validation_share", "search"],
)
def test_mix_is_made_anew_where_something_in_it_changed(domain: Domain, change: Callable[[Domain], None]) -> None:
    before = mixed(domain)
    change(domain)
    assert mixed(domain) != before


@pytest.mark.parametrize(
    "change",
    [
        set_config(index={"top_k": 3}),
        set_config(index={"top_k": 2, "allow_removal": 0.1, "gate": {"max_lost": 3}}),
        set_config(prompt={"format": ".*"}),
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


def test_adapter_is_trained_anew_for_another_mix_model_or_training(domain: Domain, tmp_path: Path) -> None:
    def inputs() -> str:
        return artifacts.fingerprint_of("adapter", stages(domain).adapter_inputs())

    before = inputs()
    domain.configure(finetune={"threads": 1}, evaluate={"limit": 1})
    assert inputs() == before  # how fast it is trained is not what is trained
    domain.configure(finetune={"rank": 4})
    assert inputs() != before
    domain.configure(seed=1)
    assert inputs() != before


def test_split_keeps_every_example_and_says_how_many(domain: Domain) -> None:
    artifact = stages(domain).split()
    assert artifact.figures == {"train": 3, "validation": 1}
    read = [
        Example.from_json(json.loads(line))
        for name in ("train", "validation")
        for line in (artifact.folder / f"{name}.jsonl").read_text().splitlines()
    ]
    assert {example.id for example in read} == {f"line-{n}" for n in range(1, 5)}


def test_mix_holds_the_answers_in_the_passages(domain: Domain) -> None:
    rows = [row for part in ("train", "validation") for row in stages(domain).rows(part)]
    assert len(rows) == 4
    for row in rows:
        if row.kind == "gold":
            value = row.messages[-1]["content"].partition(" ")[0]
            (place,) = row.gold
            assert value in row.messages[-2]["content"].split(f"[{place}] ")[1].split("\n\n")[0]


def test_rows_are_rendered_one_by_one(domain: Domain) -> None:
    made = stages(domain)
    rendered = made.rendered("train")
    assert len(rendered) == 3
    assert all(row.trained[-1] and not row.trained[0] for row in rendered)


def test_general_instructions_that_validate_are_not_trained(domain: Domain) -> None:
    domain.lines("general.jsonl", [{"instruction": f"Say {n}", "output": f"{n}"} for n in range(8)])
    mix = {**MIX, "general": "general.jsonl", "general_share": 0.6}
    domain.configure(data={"validation_share": 0.25, "mix": mix})
    made = stages(domain)
    train, validation = (
        {row.messages[0]["content"] for row in made.rows(part) if row.kind == "general"}
        for part in ("train", "validation")
    )
    assert train and validation and not train & validation
    before = made.mix().fingerprint
    domain.lines("general.jsonl", [{"instruction": f"Say {n}", "output": f"{n}!"} for n in range(8)])
    assert mixed(domain) != before


def test_source_that_is_not_indexed_stops_the_mix(domain: Domain) -> None:
    domain.lines("examples.jsonl", [{"question": f"{n}", "answer": "b", "sources": ["no.md"]} for n in range(2)])
    with pytest.raises(UsageError, match=r"names the source 'no\.md'"):
        stages(domain).mix()


def test_missing_examples_name_their_key(domain: Domain) -> None:
    (domain.folder / "examples.jsonl").unlink()
    with pytest.raises(UsageError, match=r"set data\.examples"):
        stages(domain).split()


def model(domain: Domain, number: int) -> Artifact:
    return build(domain.workspace / "models", "model", {"number": number}, lambda folder: {})[0]


def test_last_merged_model_is_the_deployed_one(domain: Domain) -> None:
    with pytest.raises(RagftError, match="There is no tuned model"):
        deployed_model(domain.workspace)
    first, second = model(domain, 1), model(domain, 2)
    for artifact in (first, second, first):
        deploy(domain.workspace, artifact)
        assert deployed_model(domain.workspace) == artifact


def test_only_the_models_that_setups_need_are_looked_for(domain: Domain) -> None:
    made = stages(domain)
    assert set(made.model_folders(["prompt-only", "rag-only"])) == {"base"}
    with pytest.raises(RagftError, match="There is no tuned model"):
        made.model_folders(["prompt-only", "hybrid"])
    deploy(domain.workspace, model(domain, 1))
    assert set(made.model_folders(["hybrid", "fine-tuned"])) == {"tuned"}


def test_deployed_model_of_another_prompt_or_base_is_used_and_told(domain: Domain, tmp_path: Path) -> None:
    config = load_config(domain.config)
    inputs = {"prompt": config.prompt.model_dump(mode="json"), "base": "0123"}
    made, _ = build(domain.workspace / "models", "model", inputs, lambda _: {"base": config.model.base})
    deploy(domain.workspace, made)

    def told() -> list[str]:
        now = stages(domain)
        assert now.model_folders(["hybrid"]) == {"tuned": made.folder}
        assert isinstance(now.reporter, Quiet)
        return now.reporter.said

    assert told() == []
    domain.configure(prompt={"system": "Other style.", "refusal": "No."})
    (line,) = told()
    assert "another prompt.system and prompt.refusal than" in line and "`ragft run`" in line
    domain.configure(model={"base": "owner/another"})
    assert "another model.base than" in told()[0]
    # The same model from a folder of its own is no other one.
    (tmp_path / "copy").mkdir()
    domain.configure(model={"base": str(tmp_path / "copy")})
    assert "model.base" in told()[0]
    inputs["base"] = artifacts.hash_model(tmp_path / "copy")
    made, _ = build(domain.workspace / "models", "model", inputs, lambda _: {"base": config.model.base})
    deploy(domain.workspace, made)
    assert told() == []


def test_run_sweeps_what_killed_runs_left_in_every_part_of_the_workspace(domain: Domain) -> None:
    past = time.time() - 90_000
    left = [domain.workspace / part / ".0123456789abcdef.growing" for part in ("data", "adapters", "models")]
    kept = domain.workspace / "adapters" / ".fedcba9876543210.growing"
    for folder in (*left, kept):
        folder.mkdir(parents=True)
        (folder / ("checkpoint.safetensors" if folder == kept else "file")).write_text("x")
        for path in (*folder.iterdir(), folder):
            os.utime(path, (past, past))
    assert stages(domain).sweep() == left
    assert kept.is_dir() and not any(folder.exists() for folder in left)


def test_questions_that_were_trained_on_are_not_evaluated(domain: Domain) -> None:
    deploy(domain.workspace, model(domain, 1))
    domain.lines("questions.jsonl", [{"id": "q", "question": "Who wrote MySQL", "answers": ["Monty"]}])
    with pytest.raises(UsageError, match="question 'q' is example 'line-4'"):
        stages(domain).evaluate()
