"""Live adapters of an application: which are served so, what is refused or said, and what decides their answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.domains import Domain, Quiet
from support.fakes import FakeHost

from ragft import engine
from ragft.artifacts import Artifact, build, hash_file, hash_model
from ragft.engine.live import LiveEngine
from ragft.errors import RagftError, UsageError
from ragft.finetune.lineage import ADAPTER_FILES
from ragft.finetune.live_proof import LivePrompt, LiveProof
from ragft.stages import live
from ragft.stages.application import Application
from ragft.stages.inputs import LIVE

PLAIN = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}


@pytest.fixture
def base(domain: Domain) -> Path:
    folder = domain.folder / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    return folder


def adapter(folder: Path, weights: str = "weights", **settings: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **settings}))
    (folder / "adapter_model.safetensors").write_text(weights)
    return folder


def publish(
    domain: Domain, base: Path, folder: Path, *, quantised: bool = False, onto: str = "trained", kept: bool = True
) -> Artifact:
    """A model that an adapter was merged into."""

    def work(growing: Path) -> dict[str, Any]:
        if kept:
            live.keep_adapter(folder, growing)
        return {"onto": onto, "version": folder.name}

    hashes = [hash_file(folder / name) for name in ADAPTER_FILES]
    inputs = {"adapter": hashes, "base": hash_model(base), "quantised": quantised}
    parents = {"adapter": folder.parent.name}
    return build(domain.workspace / "models", "model", inputs, work, parents=parents)[0]


def application(domain: Domain, base: Path, adapters: str = "live", **sections: Any) -> Application:
    domain.configure(model={"base": str(base)}, serve={"adapters": adapters}, **sections)
    return domain.application()


def said(app: Application) -> list[str]:
    assert isinstance(app.reporter, Quiet)
    return app.reporter.said


def test_what_answers_live_has_another_version_than_the_merged_model(domain: Domain, base: Path) -> None:
    first = publish(domain, base, adapter(domain.folder / "one"))
    other = publish(domain, base, adapter(domain.folder / "two", weights="others"))
    merged, now = application(domain, base, "merged"), application(domain, base)
    versions = [live.version_of(now, model.folder) for model in (first, other)]
    assert len({*versions, "one", "two"}) == 4
    assert live.version_of(merged, first.folder) == "one"
    assert live.version_of(now, base) == live.version_of(merged, base) == hash_model(base)
    assert (live.how_adapted(merged), live.how_adapted(now)) == ({}, {"adapters": "live"})


def test_engines_share_one_over_the_base_and_those_of_merged_models_do_not(
    domain: Domain, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts: list[FakeHost] = []

    def host(folder: Path, *_: Any, adapter_rank: int, **__: Any) -> FakeHost:
        assert folder == base
        hosts.append(FakeHost(adapter_rank=adapter_rank))
        return hosts[-1]

    monkeypatch.setattr("ragft.engine.vllm.VllmEngine", host)
    monkeypatch.setattr(engine, "open", lambda folder, *_, **__: folder)
    model = publish(domain, base, adapter(domain.folder / "one", r=12, rank_pattern={"q_proj": 20}))
    folders = {"base": base, "tuned": model.folder}
    assert live.engines(application(domain, base, "merged"), folders) == folders
    now = application(domain, base)
    opened = live.engines(now, folders)
    assert all(isinstance(one, LiveEngine) for one in opened.values()) and [one.adapter_rank for one in hosts] == [32]
    assert opened["tuned"].version == live.version_of(now, model.folder)
    # The base alone needs no room for adapters; nor does a model that is not published, such as one to be proven.
    assert live.engine_of(now, base) == base
    assert live.engine_of(now, model.folder / "growing") == model.folder / "growing"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"r": 1024}, "rank 1024, and vLLM applies those up to 512"),
    ],
)
def test_adapters_that_vllm_cannot_apply_are_refused_before_an_engine_starts(
    domain: Domain, base: Path, settings: dict[str, Any], why: str
) -> None:
    model = publish(domain, base, adapter(domain.folder / "one", **settings))
    app = application(domain, base)
    for refused in (live.adapter_of, live.version_of):
        with pytest.raises(RagftError, match=why) as told:
            refused(app, model.folder)
        assert "merged" in str(told.value) and model.fingerprint in str(told.value)


def test_another_base_or_engine_is_refused(domain: Domain, base: Path) -> None:
    model = publish(domain, base, adapter(domain.folder / "one"))
    with pytest.raises(UsageError, match=r"engine\.backend = remote"):
        live.adapter_of(application(domain, base, engine={"backend": "remote"}), model.folder)
    (base / "config.json").write_text('{"hidden_size": 1}')
    with pytest.raises(RagftError, match="was trained on another base model"):
        live.adapter_of(application(domain, base), model.folder)


def test_the_adapter_is_found_where_it_was_trained_if_the_model_has_no_copy_and_only_if_it_is_the_same(
    domain: Domain, base: Path
) -> None:
    trained = adapter(domain.workspace / "adapters" / "aa01" / "adapter")
    model = publish(domain, base, trained, kept=False)
    app = application(domain, base)
    assert live.adapter_of(app, model.folder).folder == trained
    copied = publish(domain, base, adapter(domain.folder / "two" / "adapter", weights="others"))
    assert live.adapter_of(app, copied.folder).folder == copied.folder / "adapter"
    (trained / "adapter_model.safetensors").write_text("changed")
    shutil.rmtree(copied.folder / "adapter")
    for gone in (model, copied):
        with pytest.raises(RagftError, match="was changed: delete the model's folder and merge again"):
            live.adapter_of(application(domain, base), gone.folder)


@pytest.mark.parametrize(
    ("quantised", "onto", "told"),
    [
        (False, "trained", "has not been compared with the merged model"),
        (True, "original", "has not been compared with the merged model"),
        (True, "trained", "was trained against quantised weights, which the merged model has"),
    ],
)
def test_what_nobody_has_proven_is_said_once(domain: Domain, base: Path, quantised: bool, onto: str, told: str) -> None:
    model = publish(domain, base, adapter(domain.folder / "one"), quantised=quantised, onto=onto)
    app = application(domain, base)
    live.adapter_of(app, model.folder)
    live.adapter_of(app, model.folder)
    (line,) = said(app)
    assert told in line and "`ragft models prove-live`" in line


@pytest.mark.parametrize("nats", [0.001, 0.5])
def test_a_proof_lets_an_adapter_be_served_or_refuses_it(domain: Domain, base: Path, nats: float) -> None:
    model = publish(domain, base, adapter(domain.folder / "one"), quantised=True)
    app = application(domain, base)
    of_it = {"model": model.fingerprint, "adapter": live.version_of(app, model.folder)}

    def work(folder: Path) -> dict[str, Any]:
        proof = LiveProof((LivePrompt("a", "b", True, nats, 3),))
        proof.write(folder)
        return {}

    build(domain.workspace / LIVE.folder, LIVE.name, of_it, work)
    if nats < 0.02:
        assert live.adapter_of(app, model.folder).rank == 8 and said(app) == []
        return
    with pytest.raises(RagftError, match=r"does not answer as the merged model does: it diverges by 0\.5000"):
        live.adapter_of(app, model.folder)
    raised = application(domain, base, merge={"max_divergence": 1.0})
    assert live.adapter_of(raised, model.folder).rank == 8
