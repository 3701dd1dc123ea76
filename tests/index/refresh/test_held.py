"""A gate is asked before a snapshot becomes live; one that it refuses is written, held back and never lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.indexes import HashEncoder, Write

from index import NoSnapshot, Snapshot, Verdict, current_id, list_snapshots, publish, rollback, verify
from index.refresh.refresh import refresh
from index.search.search import search
from index.search.settings import SearchSettings

FOX = "# Fox\n\nThe red fox hunts at dusk.\n"
OWL = "# Owl\n\nThe barn owl hears a mouse under snow.\n"
ELK = "# Elk\n\nThe elk sheds its antlers in winter.\n"


def refusing(candidate: Snapshot, live: Snapshot | None) -> Verdict:
    return Verdict(False, "The owl was lost.", ("Rank 1 before, none now.",))


def passing(candidate: Snapshot, live: Snapshot | None) -> Verdict:
    return Verdict(True, "All is well.", remarks=("The elk went.",))


def files_of(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_gate_sees_the_candidate_and_the_live_snapshot_before_the_flip(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    seen: list[tuple[str, str | None, str | None, list[str]]] = []

    def gate(candidate: Snapshot, live: Snapshot | None) -> Verdict:
        current = current_id(root) if (root / "CURRENT").exists() else None
        hits = [hit.document_id for hit in search(candidate, fake, ["owl"], SearchSettings(mode="lexical"))[0]]
        seen.append((candidate.id, live.id if live else None, current, hits))
        return passing(candidate, live)

    first = refresh(root, write({"fox.md": FOX}), fake, gate=gate)
    second = refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake, gate=gate)
    assert seen == [
        (first.snapshot_id, None, None, []),
        (second.snapshot_id, first.snapshot_id, first.snapshot_id, ["owl.md"]),
    ]
    assert second.published and not second.held and second.verdict == passing(Snapshot.open(root), None)
    # The gate is not asked if nothing is to be published.
    assert refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake, gate=gate).verdict is None
    assert len(seen) == 2


def test_refused_snapshot_is_held_back_and_the_old_one_serves_on(root: Path, write: Write, fake: HashEncoder) -> None:
    first = refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake)
    report = refresh(root, write({"fox.md": FOX, "elk.md": ELK}), fake, gate=refusing)
    assert report.held and not report.published and report.verdict is not None
    assert current_id(root) == first.snapshot_id
    assert {info.id: (info.is_current, info.held) for info in list_snapshots(root)} == {
        first.snapshot_id: (True, ()),
        report.snapshot_id: (False, ("The owl was lost.", "Rank 1 before, none now.")),
    }
    assert verify(root, report.snapshot_id).intact
    assert [entry.id for entry in Snapshot.open(root, report.snapshot_id).documents()] == ["elk.md", "fox.md"]


def test_held_snapshot_survives_later_refreshes_and_needs_no_encoding_when_it_is_asked_for_again(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake)
    elk = {"fox.md": FOX, "elk.md": ELK}
    held = refresh(root, write(elk), fake, gate=refusing).snapshot_id
    assert refresh(root, write({"fox.md": FOX, "owl.md": OWL, "new.md": "# New\n\nNews.\n"}), fake).published
    assert verify(root, held).intact
    fake.encoded.clear()
    assert refresh(root, write(elk), fake, gate=refusing).held
    before = files_of(root)
    assert refresh(root, write(elk), fake, gate=refusing).held
    assert files_of(root) == before  # a gate that decides the same again changes nothing
    report = refresh(root, write(elk), fake, gate=passing)
    assert (report.published, report.snapshot_id, fake.encoded) == (True, held, [])
    assert [info.held for info in list_snapshots(root)] == [(), (), ()]


def test_held_snapshot_is_published_as_it_is_and_can_be_rolled_back(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    first = refresh(root, write({"fox.md": FOX}), fake).snapshot_id
    held = refresh(root, write({"owl.md": OWL}), fake, gate=refusing).snapshot_id
    with pytest.raises(NoSnapshot, match=rf"was held back and never live; `ragft index publish {held}`"):
        rollback(root, held)
    publish(root, held)
    assert current_id(root) == held and [info.held for info in list_snapshots(root)] == [(), ()]
    assert rollback(root) == first
    assert rollback(root, held) == held


def test_publishing_what_is_live_changes_nothing_and_what_is_not_there_is_refused(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    with pytest.raises(NoSnapshot):
        publish(root, "0" * 16)
    assert not root.exists()
    live = refresh(root, write({"fox.md": FOX}), fake).snapshot_id
    before = files_of(root)
    publish(root, live)
    assert files_of(root) == before
    for unknown in ("0" * 16, "../CURRENT"):
        with pytest.raises(NoSnapshot, match="ragft index list"):
            publish(root, unknown)


def test_first_snapshot_can_be_held_back_too(root: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX})
    held = refresh(root, folder, fake, gate=refusing)
    with pytest.raises(NoSnapshot):
        current_id(root)
    assert [(info.id, info.is_current, bool(info.held)) for info in list_snapshots(root)] == [
        (held.snapshot_id, False, True)
    ]
    publish(root, held.snapshot_id)
    assert current_id(root) == held.snapshot_id
    assert not refresh(root, folder, fake, gate=refusing).held  # it is live, so there is nothing to do


def test_way_back_stays_open_to_a_snapshot_that_the_gate_would_refuse_now(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    fox = write({"fox.md": FOX})
    first = refresh(root, fox, fake).snapshot_id
    second = refresh(root, write({"owl.md": OWL}), fake).snapshot_id
    report = refresh(root, write({"fox.md": FOX}), fake, gate=refusing)
    assert report.held and report.snapshot_id == first and current_id(root) == second
    assert rollback(root) == first


def test_rebuild_of_what_is_live_is_not_up_for_judgement(root: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX})
    refresh(root, folder, fake)
    report = refresh(root, folder, fake, rebuild=True, gate=refusing)
    assert report.published and report.verdict is None


def test_rebuild_with_another_encoder_is_judged_beside_the_live_snapshot(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    folder = write({"fox.md": FOX})
    first = refresh(root, folder, fake).snapshot_id
    seen: list[str | None] = []

    def gate(candidate: Snapshot, live: Snapshot | None) -> Verdict:
        seen.append(live.id if live else None)
        return refusing(candidate, live)

    report = refresh(root, folder, HashEncoder(fake.tokenizer, seed="-other"), rebuild=True, gate=gate)
    assert report.held and seen == [first] and current_id(root) == first
    # The snapshot held back belongs to another encoder, and does not hinder this one.
    assert refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake).published


def test_gate_that_fails_leaves_the_index_as_it_was(root: Path, write: Write, fake: HashEncoder) -> None:
    first = refresh(root, write({"fox.md": FOX}), fake).snapshot_id
    folder = write({"owl.md": OWL})

    def broken(candidate: Snapshot, live: Snapshot | None) -> Verdict:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        refresh(root, folder, fake, gate=broken)
    assert current_id(root) == first and len(list_snapshots(root)) == 1
    assert refresh(root, folder, fake).published
    assert len(list((root / "segments").iterdir())) == 2  # the first one's and this one's
