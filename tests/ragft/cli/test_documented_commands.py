"""Commands of README.md and docs/ are run: those of the index and of the models, over two of each to choose from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Ended
from support.domains import Domain
from test_readme import RAGFT

from index.store.folder import current_id
from ragft.artifacts import find
from ragft.finetune.registry import Registry

# These run until they are stopped, need a file that the page describes, take minutes, or read weights; they have tests
# of their own.
ELSEWHERE = {"--watch", "export", "prove-live", "train-encoder", "index.encoder.model=./encoders/mine"}
PLACEHOLDERS = ("0123456789abcdef", "fedcba9876543210")


def shown(group: str) -> list[tuple[str, ...]]:
    """The commands of a group, as the pages show them."""
    return sorted({shown.words for shown in RAGFT if shown.words[1] == group and not ELSEWHERE & set(shown.words)})


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
@pytest.mark.parametrize("words", shown("index"), ids=" ".join)
def test_index_command_works_as_shown(
    words: tuple[str, ...], ragft: Callable[..., Ended], domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = domain.workspace / "index"
    domain.page("handbook.md", "# Handbook\n\nWe open at ten.\n")
    monkeypatch.chdir(domain.folder)
    assert ragft("index", "build", "-c", domain.config).status == 0
    before = current_id(root)
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    assert ragft("index", "refresh", "-c", domain.config).status == 0
    ids = dict(zip(PLACEHOLDERS, (before, current_id(root)), strict=True))
    ended = ragft(*(ids.get(word, word) for word in words[1:]), "-c", domain.config)
    assert ended.status == 0, ended.err
    assert ended.out


@pytest.mark.parametrize("words", shown("models"), ids=" ".join)
def test_models_command_works_as_shown(words: tuple[str, ...], ragft: Callable[..., Ended], domain: Domain) -> None:
    models = domain.workspace / "models"
    for fingerprint in PLACEHOLDERS:
        write_model(models / fingerprint)
        model = find(models, fingerprint)
        assert model is not None
        Registry(models).deploy(model)
    ended = ragft(*words[1:], "-c", domain.config)
    assert ended.status == 0, ended.err
    assert ended.out


def write_model(folder: Path) -> None:
    """The manifest of a merged model; its weights are not read here."""
    folder.mkdir(parents=True)
    manifest = {
        "kind": "model",
        "fingerprint": folder.name,
        "created": "2026-01-01T00:00:00+00:00",
        "parents": {"adapter": "0" * 16},
        "inputs": {},
        "figures": {"divergence": 0.001, "base": "smollm2-135m-instruct"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
