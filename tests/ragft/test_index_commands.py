"""`ragft index`: build, refresh, search, list, roll back and verify, with the real encoder on three small pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_of_core import Domain, Ended

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


def test_formats_and_repetitions_are_told(ragft: Ragft, domain: Domain) -> None:
    words = " ".join(f"word{number}" for number in range(30))
    domain.page("page.html", f"<h1>Page</h1><p>{words}</p>")
    domain.page("copy.txt", words)
    domain.page("rows.csv", "key,body\n7,a row\n")
    fields = ("--set", "index.fields.text=body", "--set", "index.fields.id=key")
    built = ragft("index", "build", "-c", domain.config, *fields)
    assert "0 passages repeat others word for word, 1 groups nearly do" in built.out
    listed = ragft("index", "list", "--documents", "--json", "-c", domain.config).values["documents"]
    told = {row["id"]: (row["title"], row["format"], row["passages"]) for row in listed}
    assert told["page.html"] == ("Page", "html", 1) and told["rows.csv#7"] == ("rows.csv#7", "csv", 1)
    repeated = ragft("index", "duplicates", "--json", "-c", domain.config).values
    assert [len(group["chunk_ids"]) for group in repeated["near"]] == [2]


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
