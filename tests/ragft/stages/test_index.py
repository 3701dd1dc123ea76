"""The index as a stage: new documents never ask for a new training, documents of the examples are an index apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.domains import MIX, Domain

from index.documents import files as reading
from index.encoders.encoder import Encoder
from index.errors import NoDocuments
from ragft.models import resolve_encoder
from ragft.stages.application import Application
from ragft.stages.data import mix, rows
from ragft.stages.index import live_snapshot, refresh, training_snapshot

pytestmark = pytest.mark.usefixtures("loaded_encoder")
DATA = {"documents": "old", "split": {"validation_share": 0.25}, "mix": MIX}


@pytest.fixture
def old(domain: Domain) -> Path:
    """A domain whose examples were written from other documents than the live ones."""
    old = domain.folder / "old"
    (domain.folder / "documents").rename(old)
    (domain.folder / "documents").mkdir()
    domain.page("live.md", "# Live\n\nNothing of what the examples ask.\n")
    domain.configure(data=DATA)
    return old


def mixed(domain: Domain) -> str:
    return mix(domain.application()).fingerprint


@pytest.mark.medium
def test_new_documents_make_a_new_index_and_no_new_mix(domain: Domain) -> None:
    before = mix(domain.application())
    snapshot = live_snapshot(domain.application()).id
    domain.page("mysql.md", "# MySQL\n\n## MySQL 8.0\n\nEnd of life: 2030-01-01\n")
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    assert refresh(domain.application()).snapshot_id != snapshot
    assert mix(domain.application()) == before


@pytest.mark.medium
def test_documents_of_the_examples_are_apart_from_the_live_ones(domain: Domain, old: Path) -> None:
    before = mixed(domain)
    assert all(not name.startswith("live.md") for row in rows(domain.application(), "train") for name in row.passages)
    domain.page("live.md", "# Live\n\nOther news.\n")
    assert mixed(domain) == before
    # These pages are what the examples say, so here a change counts.
    (old / "cats.md").write_text("# Cats\n\n## Kittens\n\nA kitten sleeps.\n")
    assert mixed(domain) != before


@pytest.mark.medium
def test_training_documents_are_read_once_whatever_is_made_of_them(
    domain: Domain, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    items = reading.FileReader.items

    def counting(self: reading.FileReader, name: str) -> object:
        read.append(f"{self.folder.name}/{name}")
        return items(self, name)

    monkeypatch.setattr(reading.FileReader, "items", counting)
    app = domain.application()
    refresh(app)
    for _ in range(2):
        mix(app)
        rows(app, "train")
        training_snapshot(app)
    assert sorted(read) == ["documents/live.md", "old/cats.md", "old/mysql.md", "old/node.md"]


@pytest.mark.medium
def test_index_apart_is_built_again_by_another_encoder(
    domain: Domain, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = training_snapshot(domain.application())
    other = Encoder(resolve_encoder("all-minilm-l6-v2"), passage_prefix="passage: ")
    monkeypatch.setattr(Application, "encoder", other)
    after = training_snapshot(domain.application())
    assert (before.encoder_fingerprint, after.encoder_fingerprint) != (other.fingerprint, before.encoder_fingerprint)
    assert after.encoder_fingerprint == other.fingerprint


def test_a_missing_folder_is_refused_before_the_encoder_is_looked_for(domain: Domain) -> None:
    domain.configure(index={"documents": {"folder": "elsewhere"}, "encoder": {"model": "no-such-encoder"}})
    with pytest.raises(NoDocuments, match="elsewhere does not exist"):
        refresh(domain.application())


@pytest.mark.medium
def test_passages_are_bounded_in_tokens_of_the_base_model(domain: Domain) -> None:
    domain.page("thai.md", "# ห้องสมุด\n\n" + "ปิดทำการวันอาทิตย์" * 200)
    app = domain.application()
    report = refresh(app)
    settings = live_snapshot(app).settings
    assert settings.max_model_tokens == 2 * settings.max_tokens and settings.model_tokenizer
    lengths = [len(app.tokenizer(chunk.passage)["input_ids"]) for chunk in live_snapshot(app).chunks()]
    assert max(lengths) <= settings.max_model_tokens
    assert report.unknown["thai.md"] > 3
    assert any(line.startswith("thai.md: ") and "does not know" in line for line in app.reporter.said)


def test_without_the_base_model_passages_are_bounded_by_the_encoder_and_in_characters(domain: Domain) -> None:
    domain.configure(model={"base": "./nowhere"})
    app = domain.application()
    refresh(app)
    assert live_snapshot(app).settings.max_model_tokens is None
    assert any(
        line.startswith("Passages are not bounded in tokens of the language model") for line in app.reporter.said
    )
