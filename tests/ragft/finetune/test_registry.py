"""The registry: which model is deployed, which one served before, and what may be deleted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.artifacts import MANIFEST, Artifact, find, hash_model
from ragft.config import Config
from ragft.errors import RagftError, UsageError
from ragft.finetune.registry import Registry, trained_with

WEIGHTS = b"weights"


def publish(registry: Registry, fingerprint: str, day: int = 1, **manifest: Any) -> Artifact:
    """A model as the stage publishes it, made on a day of January."""
    folder = registry.root / fingerprint
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    values = {"fingerprint": fingerprint, "created": f"2026-01-{day:02}T00:00:00+00:00", "inputs": {}, "figures": {}}
    (folder / MANIFEST).write_text(json.dumps({**values, **manifest}))
    found = find(registry.root, fingerprint)
    assert found is not None
    return found


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def models(registry: Registry) -> list[Artifact]:
    """Four models, the oldest first; the first two begin alike."""
    return [publish(registry, name, day) for day, name in enumerate(("aa01", "aa02", "bb03", "cc04"), start=1)]


def test_models_are_listed_newest_first(registry: Registry, models: list[Artifact]) -> None:
    assert registry.models() == models[::-1]


def test_a_deployment_remembers_what_served_before(registry: Registry, models: list[Artifact]) -> None:
    assert registry.deploy(models[0]) is None
    assert (registry.current(), registry.previous()) == ("aa01", None)
    assert registry.deploy(models[1]) == "aa01"
    assert registry.deploy(models[2]) == "aa02"
    assert registry.deployed() == models[2]
    assert registry.previous() == "aa02"


def test_deploying_the_deployed_model_again_changes_nothing(registry: Registry, models: list[Artifact]) -> None:
    registry.deploy(models[0])
    registry.deploy(models[1])
    assert registry.deploy(models[1]) is None
    assert registry.previous() == "aa01"


def test_rollback_goes_back_and_forth(registry: Registry, models: list[Artifact]) -> None:
    for model in models[:3]:
        registry.deploy(model)
    assert registry.rollback() == (models[1], "bb03")
    assert registry.deployed() == models[1]
    assert registry.rollback() == (models[2], "aa02")
    assert registry.rollback() == (models[1], "bb03")


def test_rollback_is_refused_where_no_other_model_served_or_it_was_deleted(
    registry: Registry, models: list[Artifact]
) -> None:
    registry.deploy(models[0])
    with pytest.raises(RagftError, match="no other model has served"):
        registry.rollback()
    registry.deploy(models[1])
    models[0].folder.rename(registry.root.parent / "elsewhere")
    with pytest.raises(RagftError, match="aa01, which served before, was deleted"):
        registry.rollback()
    assert registry.deployed() == models[1]


@pytest.mark.slow
@given(order=st.lists(st.integers(0, 3), min_size=1, max_size=8), keep=st.integers(1, 4))
def test_gc_never_deletes_the_deployed_model_nor_the_one_before_it(
    tmp_path_factory: pytest.TempPathFactory, order: Sequence[int], keep: int
) -> None:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    models = [publish(registry, f"model{day}", day) for day in range(1, 5)]
    served = []  # without repetitions
    for number in order:
        registry.deploy(models[number])
        if models[number].fingerprint not in served[-1:]:
            served.append(models[number].fingerprint)
    assert [registry.previous(), registry.current()] == [None, *served][-2:]
    removed = registry.gc(keep)
    left = {model.fingerprint for model in registry.models()}
    assert left | set(removed.models) == {model.fingerprint for model in models}
    assert left == {*served[-2:], *(model.fingerprint for model in models[4 - keep :])}
    if len(served) > 1:
        registry.rollback()
        registry.rollback()
        assert registry.deployed().fingerprint == served[-1]


def test_gc_says_what_it_would_delete_before_it_does(registry: Registry, models: list[Artifact]) -> None:
    registry.deploy(models[1])
    sizes = [sum(path.stat().st_size for path in model.folder.iterdir()) for model in models]
    would = registry.gc(1, dry_run=True)
    assert registry.models() == models[::-1]
    assert would.models == ("aa01", "bb03")
    assert would.freed == sizes[0] + sizes[2]
    assert registry.gc(1) == would
    assert registry.models() == [models[3], models[1]]


def test_gc_of_a_workspace_without_models_deletes_nothing(registry: Registry) -> None:
    assert registry.gc(1).models == ()


def test_a_model_is_named_by_the_beginning_of_its_fingerprint(registry: Registry, models: list[Artifact]) -> None:
    assert registry.named("bb03") == registry.named("b") == models[2]
    with pytest.raises(UsageError, match=r"'aa' names several models in .*: aa02, aa01\."):
        registry.named("aa")
    with pytest.raises(UsageError, match=r"'x' names no model in .*: cc04, bb03, aa02, aa01\."):
        registry.named("x")


def test_naming_a_model_of_an_empty_workspace_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match=r"choose one of these: none\."):
        registry.named("aa01")


def test_without_a_deployed_model_the_commands_that_make_one_are_named(registry: Registry) -> None:
    assert registry.current() is registry.previous() is None
    with pytest.raises(RagftError, match=r"There is no tuned model in .*`ragft merge`"):
        registry.deployed()


def test_a_workspace_of_an_older_version_is_read_and_rolled_back(registry: Registry, models: list[Artifact]) -> None:
    (registry.root / "CURRENT").write_text("aa01\n")
    assert registry.deployed() == models[0]
    assert registry.previous() is None
    assert registry.gc(1).models == ("aa02", "bb03")
    assert registry.deploy(models[3]) == "aa01"
    assert registry.rollback() == (models[0], "cc04")


def test_a_deployment_killed_before_current_was_replaced_did_not_happen(
    registry: Registry, models: list[Artifact]
) -> None:
    registry.deploy(models[0])
    registry.deploy(models[1])
    registry.deploy(models[2])
    (registry.root / "CURRENT").write_text("aa02")  # only the history was written
    assert registry.deployed() == models[1]
    assert registry.previous() == "aa01"
    assert registry.deploy(models[3]) == "aa02"
    assert registry.rollback() == (models[1], "cc04")


def test_another_prompt_or_refusal_is_a_difference_and_another_port_is_none(registry: Registry) -> None:
    config = Config(name="desk")
    model = publish(registry, "aa01", figures={"trained_with": trained_with(config)})
    assert registry.differences(model, config) == []
    assert registry.differences(model, Config.model_validate({"name": "desk", "serve": {"port": 1}})) == []
    other = {"name": "desk", "prompt": {"system": "Other."}, "answer": {"refusal": "No."}}
    assert registry.differences(model, Config.model_validate(other)) == ["prompt.system", "answer.refusal"]
    told = {"name": "desk", "prompt": {"template_arguments": {"a": 1}, "date": "2001-02-03"}}
    assert registry.differences(model, Config.model_validate(told)) == ["prompt.template_arguments", "prompt.date"]


def test_a_base_model_that_moved_is_no_difference(registry: Registry, tmp_path: Path) -> None:
    moved, other = tmp_path / "moved", tmp_path / "other"
    for folder in (moved, other):
        folder.mkdir()
        (folder / "model.safetensors").write_text(folder.name)
    config = Config(name="desk")
    figures = {"trained_with": {**trained_with(config), "model.base": "/gone/base"}}
    model = publish(registry, "aa01", figures=figures, inputs={"base": hash_model(moved)})

    def differences(base: Path) -> list[str]:
        return registry.differences(model, Config.model_validate({"name": "desk", "model": {"base": str(base)}}))

    assert differences(moved) == []
    assert differences(other) == differences(tmp_path / "missing") == ["model.base"]


def test_what_an_older_version_says_of_a_model_is_read(registry: Registry) -> None:
    prompt = {"system": "Old.", "refusal": "I do not know."}
    model = publish(registry, "aa01", figures={"base": "smollm2-135m-instruct"}, inputs={"prompt": prompt})
    assert registry.differences(model, Config(name="desk")) == ["prompt.system"]
    bare = publish(registry, "aa02")
    assert registry.differences(bare, Config(name="desk")) == []
