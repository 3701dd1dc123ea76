"""The cache of embeddings: vectors come back bit for bit, none is computed twice, and no fault of it is fatal."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support import PYTHONPATH, ROOT
from support.indexes import HashEncoder, Write

from index.encoders.cache import EmbeddingsCache, clear, encode_with_cache
from index.encoders.encoder import Vectors
from index.refresh.refresh import RefreshSettings, refresh
from index.store.snapshot import Snapshot

MIB = 1 << 20
CACHED = RefreshSettings(cache_mib=1)


def digest(text: str) -> str:
    return blake3(text.encode()).hexdigest()


def opened(root: Path, dimension: int = 3, limit: int = MIB, fingerprint: str = "print") -> EmbeddingsCache:
    return EmbeddingsCache(root, fingerprint, dimension, limit)


def vector(*values: float) -> Vectors:
    return np.array([values], dtype=np.float32)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_vectors_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    vectors = data.draw(arrays.arrays(np.float32, (5, 3), elements=st.floats(width=32)))
    root = tmp_path_factory.mktemp("root")
    names = [digest(str(number)) for number in range(5)]
    with opened(root) as cache:
        cache.keep(names[:4], vectors[:4])
    with opened(root) as cache:
        found = cache.find(names)
    assert found.keys() == set(names[:4])
    for row, name in enumerate(names[:4]):
        assert found[name].tobytes() == vectors[row].tobytes()


def test_text_that_was_indexed_before_is_not_encoded_again(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    root = tmp_path / "index"
    refresh(root, write({"a.md": "# Cats\n\nA kitten purrs.", "b.md": "# Dogs\n\nBark."}), fake, CACHED)
    refresh(root, write({"b.md": "# Dogs\n\nHowl."}), fake, CACHED)
    fake.encoded.clear()
    refresh(root, write({"c.md": "# Cats\n\nA kitten purrs.", "b.md": "# Dogs\n\nBark.\n"}), fake, CACHED)
    assert fake.encoded == []
    assert Snapshot.open(root).document_count == 2


@pytest.mark.medium
def test_killed_build_keeps_what_it_has_encoded(tmp_path: Path, write: Write, words: HashEncoder) -> None:
    files = {f"{number}.md": f"# Number {number}\n\nText of {number}." for number in range(40)}
    folder = write(files)
    script = f"""
import os, signal, sys
from pathlib import Path
from support.indexes import HashEncoder, WordTokenizer
import index.encoders.cache
from index.refresh.refresh import RefreshSettings, refresh
index.encoders.cache._FIRST_PART = index.encoders.cache._LARGEST_PART = 8
class Dying(HashEncoder):
    def encode_passages(self, texts, progress=None):
        if len(self.encoded) == 24:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_passages(texts, progress)
refresh(Path({str(tmp_path / "index")!r}), Path({str(folder)!r}), Dying(WordTokenizer()), RefreshSettings(cache_mib=1))
"""
    run = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": PYTHONPATH}, check=False)
    assert run.returncode == -signal.SIGKILL
    refresh(tmp_path / "index", folder, words, CACHED)
    assert len(words.encoded) == 40 - 24
    assert Snapshot.open(tmp_path / "index").document_count == 40


def test_progress_counts_known_passages(tmp_path: Path, fake: HashEncoder) -> None:
    passages = {digest(text): text for text in ("one", "two", "three")}
    encode_with_cache(tmp_path, fake, dict(list(passages.items())[:2]), MIB)
    seen: list[tuple[int, int]] = []
    vectors = encode_with_cache(tmp_path, fake, passages, MIB, lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]
    assert np.array_equal(vectors, fake.encode_queries(["one", "two", "three"]))


def test_least_recently_used_vectors_are_evicted_first(tmp_path: Path) -> None:
    names = [digest(str(number)) for number in range(600)]
    vectors = np.zeros((600, 256), dtype=np.float32)
    with opened(tmp_path, 256) as cache:
        cache.keep(names[:300], vectors[:300])
    with opened(tmp_path, 256) as cache:
        cache.keep(names[300:], vectors[300:])
    with opened(tmp_path, 256) as cache:
        assert cache.find(names[:10]).keys() == set(names[:10])
    limit = 400_000
    with opened(tmp_path, 256, limit):
        pass
    assert (tmp_path / "cache" / "print.sqlite").stat().st_size <= limit
    with opened(tmp_path, 256, limit) as cache:
        left = cache.find(names).keys()
    assert 100 < len(left) < 400
    assert set(names[:10]) <= left and not left & set(names[10:300])


def test_files_of_other_encoders_are_deleted_first(tmp_path: Path) -> None:
    names, vectors = [digest(str(number)) for number in range(300)], np.zeros((300, 256), dtype=np.float32)
    with opened(tmp_path, 256, fingerprint="old") as cache:
        cache.keep(names, vectors)
    with opened(tmp_path, 256, 500_000, fingerprint="new") as cache:
        cache.keep(names, vectors)
    with opened(tmp_path, 256, 500_000, fingerprint="new") as cache:
        assert len(cache.find(names)) == 300
    assert not (tmp_path / "cache" / "old.sqlite").exists()


def test_damaged_cache_is_set_aside_with_a_warning(
    tmp_path: Path, write: Write, fake: HashEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "index"
    refresh(root, write({"a.md": "# Cats\n\nA kitten purrs."}), fake, CACHED)
    path = root / "cache" / f"{fake.fingerprint}.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    refresh(root, write({"a.md": "# Cats\n\nA kitten sleeps."}), fake, CACHED)
    assert "is damaged" in caplog.text and "set aside" in caplog.text
    assert path.with_name(path.name + ".damaged").read_bytes().startswith(b"not a database")
    fake.encoded.clear()
    refresh(root, write({"b.md": "# Dogs\n\nBark."}), fake, CACHED)
    refresh(root, write({"b.md": "# Dogs\n\nBark.", "c.md": "# Cats\n\nA kitten sleeps."}), fake, CACHED)
    assert len(fake.encoded) == 1


def test_truncated_cache_costs_no_more_than_encoding_again(tmp_path: Path, fake: HashEncoder) -> None:
    passages = {digest(str(number)): f"text {number}" for number in range(200)}
    expected = encode_with_cache(tmp_path, fake, passages, MIB)
    path = tmp_path / "cache" / f"{fake.fingerprint}.sqlite"
    whole = path.read_bytes()
    for length in (0, 10, 4096, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert np.array_equal(encode_with_cache(tmp_path, fake, passages, MIB), expected)


def test_vector_with_a_flipped_bit_is_not_returned(tmp_path: Path) -> None:
    names = [digest("a"), digest("b")]
    marked = vector(1.25, -2.5, 3.75)
    with opened(tmp_path) as cache:
        cache.keep(names, np.concatenate([marked, vector(0, 1, 0)]))
    path = tmp_path / "cache" / "print.sqlite"
    data = bytearray(path.read_bytes())
    data[data.index(marked.tobytes()) + 2] ^= 1
    path.write_bytes(data)
    with opened(tmp_path) as cache:
        assert cache.find(names).keys() == {names[1]}


def test_damaged_cache_in_use_elsewhere_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as cache:
        cache.keep([digest("a")], vector(1, 2, 3))
    path = tmp_path / "cache" / "print.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    other = os.open(tmp_path / "cache" / "LOCK", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_SH)
    with opened(tmp_path) as cache:
        assert cache.find([digest("a")]) == {}
        cache.keep([digest("a")], vector(1, 2, 3))
    os.close(other)
    assert path.read_bytes().startswith(b"not a database") and "is damaged" in caplog.text


def test_full_disk_ends_caching_but_not_the_refresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path, 256) as cache:
        assert cache._file is not None
        cache._file.execute("PRAGMA max_page_count = 10")
        cache.keep([digest(str(number)) for number in range(300)], np.zeros((300, 256), dtype=np.float32))
        assert cache.find([digest("1")]) == {}
    assert "full" in caplog.text and "going on without it" in caplog.text


def test_folder_that_cannot_be_made_is_a_warning(
    tmp_path: Path, write: Write, fake: HashEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "cache").write_text("a file in the way")
    refresh(tmp_path / "index", write({"a.md": "# Cats\n\nA kitten purrs."}), fake, CACHED)
    assert Snapshot.open(tmp_path / "index").document_count == 1
    assert "cannot be opened" in caplog.text


def test_no_cache_is_kept_unless_asked_for(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    refresh(tmp_path / "index", write({"a.md": "# Cats\n\nA kitten purrs."}), fake)
    assert not (tmp_path / "index" / "cache").exists()


@pytest.mark.medium
def test_two_processes_keep_what_both_encoded(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
import numpy as np
from blake3 import blake3
from index.encoders.cache import EmbeddingsCache
first = int(sys.argv[2])
with EmbeddingsCache(Path(sys.argv[1]), "print", 3, 1 << 20) as cache:
    sys.stdin.readline()
    for number in range(first, first + 100):
        cache.keep([blake3(str(number).encode()).hexdigest()], np.full((1, 3), number, dtype=np.float32))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    both = [subprocess.Popen([*command, first], cwd=ROOT, stdin=subprocess.PIPE, text=True) for first in ("0", "50")]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait() for process in both] == [0, 0]
    with opened(tmp_path) as cache:
        found = cache.find([digest(str(number)) for number in range(150)])
    assert {name: int(kept[0]) for name, kept in found.items()} == {digest(str(n)): n for n in range(150)}


def test_clear_empties_the_folder_but_not_during_a_refresh(tmp_path: Path) -> None:
    assert clear(tmp_path) == 0
    with opened(tmp_path) as cache:
        cache.keep([digest("a")], vector(1, 2, 3))
        assert clear(tmp_path) == 0
        assert len(cache.find([digest("a")])) == 1
    assert clear(tmp_path) > 0
    with opened(tmp_path) as cache:
        assert cache.find([digest("a")]) == {}


def test_file_of_another_version_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").mkdir()
    file = sqlite3.connect(tmp_path / "cache" / "print.sqlite")
    file.execute("PRAGMA user_version = 99")
    file.close()
    with opened(tmp_path) as cache:
        cache.keep([digest("a")], vector(1, 2, 3))
        assert len(cache.find([digest("a")])) == 1
    assert "version 99" in caplog.text
