"""`ragft index`: build, refresh, search, list, roll back and verify, with the real encoder on three small pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes_of_core import Domain, Ended

sys.path.append(str(Path(__file__).parents[1] / "index"))

Ragft = Callable[..., Ended]
pytestmark = pytest.mark.usefixtures("loaded_encoder")


@pytest.fixture
def index(ragft: Ragft, domain: Domain) -> Ragft:
    """`ragft index ...` over a built index."""

    def run(command: str, *arguments: object) -> Ended:
        return ragft("index", command, *arguments, "-c", domain.config)

    assert run("build").status == 0
    return run


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}


def test_build_says_what_it_did_and_where(ragft: Ragft, domain: Domain) -> None:
    ended = ragft("index", "build", "-c", domain.config)
    assert "3 documents added, 0 changed, 0 removed, 0 unchanged; 4 passages to encode" in ended.out
    assert f"published in {domain.workspace / 'index'}" in ended.out


def test_second_refresh_changes_nothing(index: Ragft, domain: Domain) -> None:
    before = files(domain.workspace)
    values = index("refresh", "--json").values
    assert (values["published"], values["unchanged"], values["chunks_to_embed"]) == (False, 3, 0)
    assert {path: state for path, state in files(domain.workspace).items() if "LOCK" not in path} == {
        path: state for path, state in before.items() if "LOCK" not in path
    }


def test_dry_run_changes_nothing_and_tells_the_plan(index: Ragft, domain: Domain) -> None:
    domain.page("cats.md", "# Cats\n\n## Kittens\n\nA kitten sleeps.\n")
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    (domain.folder / "documents" / "mysql.md").unlink()
    before = files(domain.workspace)
    ended = index("refresh", "--dry-run")
    assert ended.status == 0
    assert "1 documents added, 1 changed, 1 removed, 1 unchanged" in ended.out
    assert "would be published" in ended.out
    assert files(domain.workspace) == before
    planned = index("refresh", "--dry-run", "--json").values["snapshot"]
    assert index("refresh", "--json").values["snapshot"] == planned


def test_dry_run_before_the_first_build_makes_no_index(ragft: Ragft, domain: Domain) -> None:
    assert ragft("index", "refresh", "--dry-run", "-c", domain.config).status == 0
    assert not (domain.workspace / "index" / "CURRENT").exists()


@pytest.mark.parametrize("command", ["build", "refresh"])
def test_skipped_file_is_named_and_the_rest_goes_on(ragft: Ragft, domain: Domain, command: str) -> None:
    domain.page("broken.md", b"\xff\xfe\x00")
    ended = ragft("index", command, "-c", domain.config)
    assert ended.status == 1
    assert "Skipped broken.md: " in ended.err
    assert "3 documents added" in ended.out and "1 skipped" in ended.out


def test_file_that_is_skipped_by_an_index_built_on_the_way_is_named_too(ragft: Ragft, domain: Domain) -> None:
    domain.page("broken.md", b"\xff\xfe\x00")
    ended = ragft("index", "search", "kitten", "-c", domain.config)
    assert ended.status == 0
    assert "Skipped broken.md: " in ended.err


def test_search_shows_passages_best_first(index: Ragft) -> None:
    ended = index("search", "When does Node.js 24 reach its end of life?")
    assert ended.out.startswith("[1] node.md#")
    assert "Node.js > Node.js 24" in ended.out
    assert "2 passages in" in ended.out  # index.top_k
    hits = index("search", "Do kittens purr?", "-k", 4, "--json").values["hits"]
    assert hits[0]["document_id"] == "cats.md" and len(hits) == 4


def test_search_is_narrowed_by_conditions_and_labels(index: Ragft, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragft.pipeline import Retriever

    found = index("search", "support", "-k", 9, "--where", "document~node*", "--json").values
    assert {hit["document_id"] for hit in found["hits"]} == {"node.md"}
    assert index("search", "support", "--where", "title!=Node.js", "--where", "page>3", "--json").values["hits"] == []
    told: list[Any] = []
    whole = Retriever.search
    monkeypatch.setattr(
        Retriever,
        "search",
        lambda self, *rest, **restriction: told.append(restriction["labels"]) or whole(self, *rest, **restriction),
    )
    for arguments in ([], ["--labels", "*"], ["--labels", "staff,board"], ["--labels", ""]):
        assert index("search", "support", *arguments).status == 0
    assert told == [None, None, {"staff", "board"}, frozenset()]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--where", "year"], "'year'"), (["--where", '{"year": {"newer": 1}}'], "'newer'"), (["--labels", "a b"], "a b")],
)
def test_conditions_that_cannot_be_understood_are_refused(index: Ragft, arguments: list[str], named: str) -> None:
    ended = index("search", "support", *arguments)
    assert ended.status == 2 and named in ended.sentence


def test_search_tells_how_long_each_stage_took(index: Ragft) -> None:
    last = index("search", "support").out.splitlines()[-1]
    assert [part.split()[0] for part in last.split(", ")] == ["filter", "encode", "dense", "lexical", "fuse", "hits"]
    assert index("search", "support", "--json").values["timings_ms"]["encode"] > 0


def test_a_configured_reranker_orders_the_passages(index: Ragft, tmp_path: Path) -> None:
    from fakes_of_index import make_cross_encoder

    rerank = f"index.rerank={make_cross_encoder(tmp_path / 'judge')}"
    hits = index("search", "support ends", "-k", 4, "--set", rerank, "--json").values["hits"]
    scores = [hit["rerank_score"] for hit in hits]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True) == [hit["score"] for hit in hits]
    timings = index("search", "support ends", "--set", rerank, "--json").values["timings_ms"]
    assert timings["rerank"] > 0
    ended = index("search", "support ends", "--set", f"index.rerank={tmp_path}")
    assert ended.status == 2 and "no cross-encoder" in ended.sentence


def test_rollback_goes_to_the_snapshot_before(index: Ragft, domain: Domain) -> None:
    first = index("list", "--json").values["snapshots"][0]["id"]
    domain.page("cats.md", "# Cats\n\n## Kittens\n\nA kitten sleeps.\n")
    second = index("refresh", "--json").values["snapshot"]
    assert index("rollback", "--json").values == {"snapshot": first}
    assert {info["id"]: info["is_current"] for info in index("list", "--json").values["snapshots"]} == {
        first: True,
        second: False,
    }
    assert index("rollback", second).status == 0
    assert f"* {second}" in index("list").out
    ended = index("rollback", "no-such-snapshot")
    assert ended.status == 1 and "no-such-snapshot" in ended.sentence


def test_verify_finds_a_changed_byte(index: Ragft, domain: Domain) -> None:
    assert index("verify", "--json").values["intact"] is True
    segments = domain.workspace / "index" / "segments"
    largest = max((path for path in segments.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[-1] ^= 1
    largest.write_bytes(data)
    ended = index("verify")
    assert ended.status == 1
    assert "rollback" in ended.sentence or "--rebuild" in ended.sentence


def test_rebuild_encodes_everything_again(index: Ragft) -> None:
    values = index("build", "--rebuild", "--json").values
    assert (values["published"], values["chunks_to_embed"]) == (True, 4)


def test_another_encoder_is_refused(index: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragft.stages import Stages

    class Other:
        fingerprint, source, dimension, max_tokens = "other", "another-encoder", 8, 64

    monkeypatch.setattr(Stages, "encoder", Other())
    ended = index("search", "kitten")
    assert ended.status == 1
    assert "another-encoder" in ended.sentence


@pytest.mark.slow
def test_search_works_in_a_process_of_its_own(domain: Domain) -> None:
    arguments = ["index", "search", "kitten", "--json", "-c", str(domain.config)]
    ended = subprocess.run([sys.executable, "-m", "ragft", *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    assert '"document_id": "cats.md"' in line
