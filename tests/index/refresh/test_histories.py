"""Whatever was done to an index, it equals one that was built at once.

`RAGFT_HISTORIES=1000` runs a thousand random histories instead of two dozen.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.indexes import HashEncoder, WordTokenizer

from index.refresh.refresh import refresh
from index.search.search import search
from index.search.settings import MODES, SearchSettings
from index.store.folder import current_id
from index.store.maintenance import compact, gc, rollback, verify_all
from index.store.snapshot import Snapshot, list_snapshots

WORDS = st.sampled_from(["red", "fox", "owl", "8.0.36", "node.js", "support", "ends", "x_y"])
BODIES = st.lists(st.lists(WORDS, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=3).map(
    lambda parts: "# T\n\n" + "\n\n".join(f"## S{place}\n\n{part}" for place, part in enumerate(parts)) + "\n"
)
NAMES = st.sampled_from([f"{folder}{name}.md" for folder in ("", "sub/") for name in "abcd"])
QUERIES = ["red fox 8.0.36", "owl support ends", "node.js x_y"]


class Index(RuleBasedStateMachine):
    """Documents that come, change, move and go, and an index that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.documents, self.root = self.place / "documents", self.place / "index"
        self.encoder = HashEncoder(WordTokenizer())
        self.files: dict[str, str] = {}
        self.published: dict[str, dict[str, str]] = {}
        self.settled = pytest.MonkeyPatch()
        self.settled.setattr("index.documents.unchanged.SETTLED_NS", -(10**15))

    def teardown(self) -> None:
        self.settled.undo()
        shutil.rmtree(self.place)

    def put(self, name: str, text: str) -> None:
        path = self.documents / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A new file, because one rewritten within one tick of the clock could keep its times and size.
        temporary = self.place / f"{len(self.files)}.new"
        temporary.write_text(text)
        temporary.replace(path)
        self.files[name] = text

    @initialize(text=BODIES)
    def build(self, text: str) -> None:
        self.put("a.md", text)
        self.refresh()

    @rule(name=NAMES, text=BODIES)
    def add_or_change(self, name: str, text: str) -> None:
        self.put(name, text)

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.documents / name).unlink()
        del self.files[name]

    @rule(data=st.data(), to=NAMES)
    def move(self, data: st.DataObject, to: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        text = self.files.pop(name)
        (self.documents / name).unlink()
        self.put(to, text)

    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        """All documents become what they were in an earlier snapshot."""
        files = self.published[data.draw(st.sampled_from(sorted(self.published)))]
        for name in set(self.files) - set(files):
            (self.documents / name).unlink()
            del self.files[name]
        for name, text in files.items():
            if self.files.get(name) != text:
                self.put(name, text)

    @rule()
    def refresh(self) -> None:
        report = refresh(self.root, self.documents, self.encoder)
        self.published[report.snapshot_id] = dict(self.files)
        assert current_id(self.root) == report.snapshot_id

    @rule()
    def compact(self) -> None:
        compact(self.root)
        assert len(Snapshot.open(self.root).segments) <= 1

    @rule(keep=st.integers(1, 3))
    def gc(self, keep: int) -> None:
        live = current_id(self.root)
        gc(self.root, keep)
        assert current_id(self.root) == live

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        rollback(self.root, data.draw(st.sampled_from([info.id for info in list_snapshots(self.root)])))

    @rule()
    def compare_with_a_rebuild(self) -> None:
        snapshot = Snapshot.open(self.root)
        files = self.published[snapshot.id]
        folder, built = self.place / "copy", self.place / "built"
        for path in (folder, built):
            shutil.rmtree(path, ignore_errors=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        refresh(built, folder, self.encoder)
        at_once = Snapshot.open(built)
        assert (snapshot.id, list(snapshot.chunks())) == (at_once.id, list(at_once.chunks()))
        for mode in MODES:
            for k in (2, 50):
                assert search(snapshot, self.encoder, QUERIES, SearchSettings(k=k, mode=mode)) == search(
                    at_once, self.encoder, QUERIES, SearchSettings(k=k, mode=mode)
                )

    @invariant()
    def every_snapshot_is_intact(self) -> None:
        if self.published:
            assert all(item.intact for item in verify_all(self.root))


Index.TestCase.settings = settings(
    max_examples=int(os.environ.get("RAGFT_HISTORIES", "24")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.medium
class TestHistories(Index.TestCase):  # type: ignore[misc, name-defined]
    """`compare_with_a_rebuild` is a rule like the others, and ends up in nearly every history."""
