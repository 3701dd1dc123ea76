"""What a refresh promises to those who change documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.indexes import HashEncoder, WordTokenizer, Write

from index import (
    EncoderMismatch,
    IndexBusy,
    IndexFault,
    NoDocuments,
    Snapshot,
    current_id,
    verify,
)
from index.documents.lengths import EncoderLength, EncoderTokens, ModelTokenizer
from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.folder import writing
from index.store.merging import FANOUT

FOX = "# Fox\n\nThe red fox hunts at dusk.\n"
OWL = "# Owl\n\nThe barn owl hears a mouse under snow.\n"
ELK = "# Elk\n\nThe elk sheds its antlers in winter.\n"


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")
    }


def found(root: Path, encoder: HashEncoder, query: str) -> list[str]:
    return [hit.document_id for hit in search(Snapshot.open(root), encoder, [query], SearchSettings(mode="lexical"))[0]]


def test_first_refresh_builds_the_index(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    report = refresh(tmp_path / "index", write({"fox.md": FOX, "owl.md": OWL}), fake)
    snapshot = Snapshot.open(tmp_path / "index")
    assert report.published and report.plan.added == ("fox.md", "owl.md")
    assert (snapshot.id, snapshot.document_count, snapshot.chunk_count) == (report.snapshot_id, 2, 2)
    assert next(chunk.passage for chunk in snapshot.chunks()) == "Fox\nThe red fox hunts at dusk."
    assert found(tmp_path / "index", fake, "antlers fox") == ["fox.md"]


def test_second_refresh_of_the_same_folder_writes_nothing(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX, "owl.md": OWL})
    first = refresh(tmp_path / "index", folder, fake)
    before = files_of(tmp_path / "index")
    second = refresh(tmp_path / "index", folder, fake)
    assert not second.published and second.snapshot_id == first.snapshot_id and second.plan.is_empty
    assert files_of(tmp_path / "index") == before


def test_only_changed_sections_are_encoded(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    text = "# Beasts\n\n## Fox\n\nRed.\n\n## Owl\n\nSilent.\n"
    refresh(tmp_path / "index", write({"a.md": text, "elk.md": ELK}), fake)
    fake.encoded.clear()
    report = refresh(tmp_path / "index", write({"a.md": text.replace("Red.", "Grey."), "elk.md": ELK}), fake)
    assert fake.encoded == ["Beasts > Fox\nGrey."]
    assert report.plan.changed == ("a.md",) and report.plan.unchanged == 1
    assert (report.plan.chunks_to_embed, report.plan.chunks_reused) == (1, 1)
    assert found(tmp_path / "index", fake, "red") == []


def test_sections_that_did_not_change_are_not_measured_again(
    tmp_path: Path, write: Write, words: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "# Beasts\n\n## Fox\n\nRed.\n\n## Owl\n\nSilent.\n"
    refresh(tmp_path / "index", write({"a.md": text}), words)
    measured: list[str] = []
    real = EncoderTokens.lengths

    def lengths(self: EncoderTokens, texts: Sequence[str]) -> list[EncoderLength]:
        measured.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(EncoderTokens, "lengths", lengths)
    refresh(tmp_path / "index", write({"a.md": text.replace("Red.", "Grey.")}), words)
    assert [item for item in measured if "\n" in item] == ["Beasts > Fox\nGrey."]


def test_passage_of_an_older_longer_cut_is_measured_when_it_comes_back(
    tmp_path: Path, write: Write, words: HashEncoder
) -> None:
    root, short = tmp_path / "index", RefreshSettings(max_tokens=32)
    long = "# Long\n\n" + "word " * 50
    stays = "".join(f"# Part {number}\n\nKeeps the old segment.\n\n" for number in range(9))
    refresh(root, write({"a.md": long, "b.md": stays}), words)
    for text in ("# Long\n\nword", long):
        folder = write({"a.md": text, "b.md": ""})
        assert refresh(root, folder, words, short).plan.kept == ("b.md",)
    lengths = [len(chunk.text.split()) for chunk in Snapshot.open(root).chunks() if chunk.document_id == "a.md"]
    assert len(lengths) > 1 and max(lengths) <= 34  # the line of the heading is not part of the passage


def test_moved_document_is_not_encoded_again(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    refresh(tmp_path / "index", write({"fox.md": FOX, "owl.md": OWL}), fake)
    fake.encoded.clear()
    report = refresh(tmp_path / "index", write({"forest/fox.md": FOX, "owl.md": OWL}), fake)
    assert fake.encoded == []
    assert (report.plan.added, report.plan.removed) == (("forest/fox.md",), ("fox.md",))
    assert found(tmp_path / "index", fake, "fox") == ["forest/fox.md"]


def test_deleted_document_vanishes_from_every_mode(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    refresh(tmp_path / "index", write({"fox.md": FOX, "owl.md": OWL, "elk.md": ELK}), fake)
    refresh(tmp_path / "index", write({"owl.md": OWL, "elk.md": ELK}), fake)
    snapshot = Snapshot.open(tmp_path / "index")
    for mode in ("dense", "lexical", "hybrid"):
        hits = search(snapshot, fake, ["The red fox hunts at dusk."], SearchSettings(k=10, mode=mode))[0]
        assert "fox.md" not in {hit.document_id for hit in hits}
    assert [entry.id for entry in snapshot.documents()] == ["elk.md", "owl.md"]


def test_dry_run_writes_nothing_and_names_the_snapshot_to_come(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX})
    dry = refresh(tmp_path / "index", folder, fake, dry_run=True)
    assert not dry.published and dry.plan.chunks_to_embed == 1
    assert not (tmp_path / "index").exists()
    assert refresh(tmp_path / "index", folder, fake).snapshot_id == dry.snapshot_id


def test_plan_is_what_refresh_does(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    refresh(tmp_path / "index", write({"fox.md": FOX, "owl.md": OWL}), fake)
    folder = write({"fox.md": FOX + "\nIt sleeps by day.\n", "elk.md": ELK})
    outline = refresh(tmp_path / "index", folder, fake, dry_run=True).plan
    assert (outline.added, outline.changed, outline.removed) == (("elk.md",), ("fox.md",), ("owl.md",))
    assert refresh(tmp_path / "index", folder, fake).plan == outline


def test_returning_to_known_content_encodes_and_writes_no_segment(
    tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    root = tmp_path / "index"
    first = refresh(root, write({"fox.md": FOX}), fake)
    second = refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake)
    fake.encoded.clear()
    segments = sorted((root / "segments").iterdir())
    third = refresh(root, write({"fox.md": FOX}), fake)
    assert third.published and third.snapshot_id == first.snapshot_id == current_id(root)
    assert fake.encoded == [] and sorted((root / "segments").iterdir()) == segments
    assert Snapshot.open(root).manifest.parent == second.snapshot_id


def test_same_folder_gives_the_same_id_whatever_came_before(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    refresh(tmp_path / "a", write({"owl.md": OWL}), fake)
    folder = write({"fox.md": FOX, "elk.md": ELK})
    assert refresh(tmp_path / "a", folder, fake).snapshot_id == refresh(tmp_path / "b", folder, fake).snapshot_id


def test_other_encoder_is_refused_by_name_and_rebuild_replaces_it(
    tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    folder = write({"fox.md": FOX})
    first = refresh(tmp_path / "index", folder, fake)
    other = HashEncoder(fake.tokenizer, seed="-other")
    with pytest.raises(EncoderMismatch, match=r"hash-encoder .*hash-encoder-other .*ragft index build --rebuild"):
        refresh(tmp_path / "index", folder, other)
    report = refresh(tmp_path / "index", folder, other, rebuild=True)
    assert report.published and report.snapshot_id != first.snapshot_id
    assert Snapshot.open(tmp_path / "index").encoder_fingerprint == other.fingerprint


def test_rebuild_encodes_everything_again(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX, "owl.md": OWL})
    first = refresh(tmp_path / "index", folder, fake)
    fake.encoded.clear()
    report = refresh(tmp_path / "index", folder, fake, rebuild=True)
    assert report.published and report.snapshot_id == first.snapshot_id and len(fake.encoded) == 2
    assert verify(tmp_path / "index").intact


def test_other_chunking_cuts_every_document_again(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX, "long.md": "# Long\n\n" + "A sentence of some words. " * 30})
    refresh(tmp_path / "index", folder, fake)
    report = refresh(tmp_path / "index", folder, fake, RefreshSettings(max_tokens=32))
    assert report.plan.changed == ("fox.md", "long.md")
    assert report.plan.chunks_reused == 1  # the fox fits either way
    assert Snapshot.open(tmp_path / "index").settings.max_tokens == 32


def test_passages_are_bounded_in_tokens_of_the_model_and_cut_again_for_another_one(
    tmp_path: Path, write: Write, words: HashEncoder
) -> None:
    letters = ModelTokenizer("letters", Letters)
    folder, root = write({"long.md": "# Long\n\n" + "A sentence of some words. " * 30}), tmp_path / "index"
    settings = RefreshSettings(model=letters, max_model_tokens=100)
    plain, bounded = refresh(root, folder, words), refresh(root, folder, words, settings)
    assert bounded.published and bounded.snapshot_id != plain.snapshot_id
    assert all(len(chunk.passage) <= 100 for chunk in Snapshot.open(root).chunks())
    assert not refresh(root, folder, words, settings).published
    other = refresh(root, folder, words, replace(settings, model=ModelTokenizer("other", Letters)))
    assert other.plan.changed == ("long.md",) and other.plan.chunks_to_embed == 0
    found = Snapshot.open(root).settings
    assert (found.max_model_tokens, found.model_tokenizer) == (100, "other")


def test_passages_may_have_twice_as_many_tokens_of_the_model_as_of_the_encoder(words: HashEncoder) -> None:
    assert RefreshSettings(model=ModelTokenizer("m", Letters)).chunking(words).max_model_tokens == 2 * words.max_tokens
    assert RefreshSettings().chunking(words).max_model_tokens is None
    with pytest.raises(IndexFault, match="max_characters is 40; it must be at least max_tokens"):
        RefreshSettings(max_characters=40).chunking(words)


def test_column_names_are_stored_with_the_rows_of_a_table(tmp_path: Path, write: Write, words: HashEncoder) -> None:
    rows = "".join(f"| zone {number} | {number} euros |\n" for number in range(60))
    refresh(tmp_path / "index", write({"fares.md": f"# Fares\n\n| Zone | Price |\n|---|---|\n{rows}"}), words)
    chunks = list(Snapshot.open(tmp_path / "index").chunks())
    assert len(chunks) > 3 and all("Fares\n| Zone | Price |\n" in chunk.passage for chunk in chunks)
    (hits,) = search(Snapshot.open(tmp_path / "index"), words, ["zone 50 price"])
    assert hits and all("| Zone | Price |" in hit.passage for hit in hits)


def test_documents_that_the_encoder_does_not_know_are_named(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX, "thai.txt": "ห้องสมุดปิดทำการวันอาทิตย์" * 60})
    report = refresh(tmp_path / "index", folder, fake)
    assert report.unknown.keys() == {"thai.txt"} and report.unknown["thai.txt"] == report.plan.chunks_to_embed - 1
    assert refresh(tmp_path / "index", folder, fake).unknown == {}


class Letters(WordTokenizer):
    """Every letter a token: a model that is worse at a language than the encoder."""

    def __call__(self, text: str | list[str], return_offsets_mapping: bool = False, **_: Any) -> dict[str, Any]:
        if isinstance(text, list):
            return {"input_ids": text}
        return {"input_ids": text, "offset_mapping": [(place, place + 1) for place in range(len(text))]}


def test_window_longer_than_the_encoder_reads_is_refused(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    with pytest.raises(IndexFault, match="reads only 64 tokens"):
        refresh(tmp_path / "index", write({"fox.md": FOX}), fake, RefreshSettings(max_tokens=65))


def test_vanished_folder_leaves_the_index_alone(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    first = refresh(tmp_path / "index", write({"fox.md": FOX}), fake)
    with pytest.raises(NoDocuments):
        refresh(tmp_path / "index", write({}), fake)
    with pytest.raises(NoDocuments):
        refresh(tmp_path / "index", tmp_path / "nowhere", fake)
    assert current_id(tmp_path / "index") == first.snapshot_id


def test_too_many_removals_are_refused(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    first = refresh(tmp_path / "index", write({"fox.md": FOX, "owl.md": OWL, "elk.md": ELK}), fake)
    folder = write({"fox.md": FOX})
    with pytest.raises(IndexFault, match="2 of 3 indexed documents"):
        refresh(tmp_path / "index", folder, fake, RefreshSettings(allow_removal=0.5))
    assert current_id(tmp_path / "index") == first.snapshot_id
    assert refresh(tmp_path / "index", folder, fake, RefreshSettings(allow_removal=0.7)).published


def test_second_writer_is_refused_while_readers_go_on(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    root = tmp_path / "index"
    refresh(root, write({"fox.md": FOX}), fake)
    folder = write({"owl.md": OWL})
    with writing(root):
        with pytest.raises(IndexBusy, match="Another process is writing"):
            refresh(root, folder, fake)
        assert found(root, fake, "fox") == ["fox.md"]
    assert refresh(root, folder, fake).published


def test_bad_file_is_reported_and_the_rest_is_indexed(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX})
    (folder / "bad.md").write_bytes(b"abc\xff")
    report = refresh(tmp_path / "index", folder, fake)
    assert report.published and [item.path for item in report.skipped] == ["bad.md"]


def test_many_refreshes_leave_few_segments_and_encode_nothing_twice(
    tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    root = tmp_path / "index"
    files = {}
    for number in range(9):
        files[f"{number}.md"] = f"# Beast {number}\n\nIt eats fruit{number}.\n"
        refresh(root, write(files), fake)
        assert len(Snapshot.open(root).segments) < FANOUT
    assert len(fake.encoded) == 9
    assert found(root, fake, "fruit4") == ["4.md"]
    assert verify(root).intact


def test_segments_full_of_removed_rows_are_merged(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    root = tmp_path / "index"
    refresh(root, write({"fox.md": FOX, "owl.md": OWL, "elk.md": ELK}), fake)
    refresh(root, write({"elk.md": ELK}), fake)
    (segment,) = Snapshot.open(root).segments
    assert len(segment) == 1 and segment.postings.places.get("fox") is None


def test_open_snapshot_survives_later_refreshes(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    root = tmp_path / "index"
    refresh(root, write({"fox.md": FOX}), fake)
    held = Snapshot.open(root)
    refresh(root, write({"owl.md": OWL}), fake)
    refresh(root, write({"owl.md": OWL}), fake, rebuild=True)
    assert [hit.document_id for hit in search(held, fake, ["fox"])[0]] == ["fox.md"]


def test_progress_reaches_the_number_of_passages(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    seen: list[tuple[int, int]] = []
    refresh(
        tmp_path / "index",
        write({"fox.md": FOX, "owl.md": OWL}),
        fake,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (2, 2)
