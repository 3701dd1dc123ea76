"""One application: what it looks for, what it says, what it sweeps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.domains import Domain, Quiet
from support.precision import Bfloat16

from ragft import artifacts
from ragft.artifacts import Artifact, build
from ragft.config import load_config
from ragft.errors import RagftError
from ragft.finetune.registry import trained_with


def model(domain: Domain, number: int) -> Artifact:
    return build(domain.workspace / "models", "model", {"number": number}, lambda folder: {})[0]


def test_only_the_models_that_setups_need_are_looked_for(domain: Domain) -> None:
    made = domain.application()
    assert set(made.model_folders(["prompt-only", "rag-only"])) == {"base"}
    with pytest.raises(RagftError, match="There is no tuned model"):
        made.model_folders(["prompt-only", "hybrid"])
    made.registry.deploy(model(domain, 1))
    assert set(made.model_folders(["hybrid", "fine-tuned"])) == {"tuned"}


def test_deployed_model_of_another_prompt_or_base_is_used_and_told(domain: Domain, tmp_path: Path) -> None:
    config = load_config(domain.config)
    # As an earlier version wrote it.
    prompt = {"system": config.prompt.system, "refusal": config.answer.refusal}
    inputs = {"prompt": prompt, "base": "0123"}
    made, _ = build(domain.workspace / "models", "model", inputs, lambda _: {"base": config.model.base})
    domain.application().registry.deploy(made)

    def told() -> list[str]:
        now = domain.application()
        assert now.model_folders(["hybrid"]) == {"tuned": made.folder}
        assert isinstance(now.reporter, Quiet)
        return now.reporter.said

    assert told() == []
    domain.configure(prompt={"system": "Other style."}, answer={"refusal": "No."})
    (line,) = told()
    assert "another prompt.system and answer.refusal than" in line and "`ragft run`" in line
    domain.configure(model={"base": "owner/another"})
    assert "another model.base than" in told()[0]
    # The same model from a folder of its own is no other one.
    (tmp_path / "copy").mkdir()
    domain.configure(model={"base": str(tmp_path / "copy")})
    assert "model.base" in told()[0]
    inputs["base"] = artifacts.hash_model(tmp_path / "copy")
    made, _ = build(domain.workspace / "models", "model", inputs, lambda _: {"base": config.model.base})
    domain.application().registry.deploy(made)
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
    assert domain.application().sweep() == left
    assert kept.is_dir() and not any(folder.exists() for folder in left)


def test_deployed_model_is_compared_by_what_its_manifest_says_it_was_trained_with(domain: Domain) -> None:
    config = load_config(domain.config)
    made, _ = build(domain.workspace / "models", "model", {}, lambda _: {"trained_with": trained_with(config)})
    domain.application().registry.deploy(made)
    for section, key in (({}, None), ({"prompt": {"system": "Other."}}, "prompt.system")):
        domain.configure(**section)
        app = domain.application()
        app.model_folders(["hybrid"])
        assert isinstance(app.reporter, Quiet)
        assert [f"another {key} than" in line for line in app.reporter.said] == ([True] if key else [])


@pytest.mark.parametrize(
    ("native", "dtype", "told"), [(True, "bfloat16", 0), (False, "bfloat16", 1), (False, "auto", 0)]
)
def test_engine_in_a_format_that_is_only_emulated_is_told(
    domain: Domain, bfloat16_is: Bfloat16, native: bool, dtype: str, told: int
) -> None:
    bfloat16_is("native" if native else "emulated")
    domain.configure(engine={"dtype": dtype})
    app = domain.application()
    app.engine(domain.folder)
    assert isinstance(app.reporter, Quiet)
    assert len([line for line in app.reporter.said if "only emulates" in line]) == told
