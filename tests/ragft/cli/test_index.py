"""`ragft index`: build, refresh, search, list, roll back and verify, with the real encoder on three small pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain

from index.refresh.estimate import RATES

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


def test_query_of_bytes_that_are_no_text_is_refused_in_a_sentence(index: Ragft) -> None:
    for arguments in (["caf\udce9"], ["cafe", "--where", "name=\udce9"], ["cafe", "--labels", "\udce9"]):
        ended = index("search", *arguments)
        assert ended.status == 2 and "is not valid UTF-8" in ended.err and "Traceback" not in ended.err


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
    assert ended.out.startswith("+ dogs.md\n~ cats.md\n- mysql.md\n1 document added, 1 changed, 1 removed, 1 unchanged")
    assert "would be published" in ended.out
    assert files(domain.workspace) == before
    planned = index("refresh", "--dry-run", "--json").values
    assert planned["documents"] == {"added": ["dogs.md"], "changed": ["cats.md"], "removed": ["mysql.md"], "kept": []}
    assert index("refresh", "--json").values["snapshot"] == planned["snapshot"]


def test_refresh_of_named_documents_looks_at_nothing_else(index: Ragft, domain: Domain) -> None:
    dogs = domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    domain.page("cats.md", "# Cats\n\nOther.\n")
    (domain.folder / "documents" / "mysql.md").unlink()
    values = index("refresh", dogs, domain.folder / "documents" / "mysql.md", "--json").values
    assert (values["added"], values["changed"], values["removed"], values["unchanged"]) == (1, 0, 1, 2)
    assert index("refresh", "--json").values["changed"] == 1


def test_named_path_that_is_no_document_is_refused_before_anything_is_done(index: Ragft, domain: Domain) -> None:
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    documents = domain.folder / "documents"
    for paths, sentence in (
        ([documents / "typo.md"], "Nothing that was named exists or is indexed"),
        ([documents / "dogs.md", domain.config], "is not in the folder of documents"),
    ):
        ended = index("refresh", *paths)
        assert ended.status == 2 and sentence in ended.sentence
    ended = index("refresh", documents / "dogs.md", documents / "gone.png", documents / "cats.md.meta.yaml")
    assert ended.status == 0 and "gone.png neither exists nor is indexed" in ended.err
    assert "cats.md.meta.yaml" not in ended.err
    assert "1 document added" in ended.out


def test_dry_run_names_the_first_of_many_documents(index: Ragft, domain: Domain) -> None:
    for number in range(25):
        domain.page(f"page-{number:02}.md", f"# Page {number}\n\nText.\n")
    lines = index("refresh", "--dry-run").out.splitlines()
    assert lines[19:21] == ["+ page-19.md", "+ and 5 more added"] and lines[21].startswith("25 documents added")


def test_dry_run_estimates_how_long_encoding_takes(index: Ragft, domain: Domain) -> None:
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    (domain.workspace / "index" / RATES).unlink(missing_ok=True)  # on a busy machine the first build leaves one
    assert "characters/s, measured on a few of the passages" in index("refresh", "--dry-run").out
    values = index("refresh", "--dry-run", "--json").values
    assert values["estimate_basis"] == "sample" and values["characters_per_second"] > 0
    expected = len("Dogs\nA dog barks.") / values["characters_per_second"]
    assert values["estimated_seconds"] == pytest.approx(expected, rel=0.1, abs=0.001)
    assert index("refresh").status == 0
    assert "Nothing to encode" in index("refresh", "--dry-run").out


def test_document_that_became_unreadable_is_still_found_and_the_exit_status_tells(index: Ragft, domain: Domain) -> None:
    domain.page("cats.md", b"\x00\x01")
    ended = index("refresh")
    assert ended.status == 1
    assert "Kept the old version of cats.md, because its file was not read: " in ended.err
    assert "0 removed, 2 unchanged, 1 kept in their old version" in ended.out and "0 skipped" in ended.out
    assert "cats.md" in index("search", "Do kittens purr?").out


def test_folder_that_lost_most_of_its_documents_empties_no_index(index: Ragft, domain: Domain) -> None:
    for name in ("cats.md", "mysql.md"):
        (domain.folder / "documents" / name).unlink()
    foretold = index("refresh", "--dry-run")
    assert foretold.status == 1 and "would be refused: 2 of 3 indexed documents" in foretold.err
    ended = index("refresh")
    assert ended.status == 1 and "--allow-removal" in ended.sentence and "index.refresh.allow_removal" in ended.sentence
    assert index("refresh", "--set", "index.refresh.allow_removal=0.6").status == 1
    assert index("refresh", "--allow-removal", "--json").values["removed"] == 2


def test_dry_run_before_the_first_build_makes_no_index(ragft: Ragft, domain: Domain) -> None:
    assert ragft("index", "refresh", "--dry-run", "-c", domain.config).status == 0
    assert not (domain.workspace / "index" / "CURRENT").exists()


def test_formats_and_repetitions_are_told(ragft: Ragft, domain: Domain) -> None:
    words = " ".join(f"word{number}" for number in range(30))
    domain.page("page.html", f"<h1>Page</h1><p>{words}</p>")
    domain.page("copy.txt", words)
    domain.page("rows.csv", "key,body\n7,a row\n")
    fields = ("--set", "index.documents.fields.text=body", "--set", "index.documents.fields.id=key")
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
    assert "2 passages in" in ended.out  # index.search.top_k
    hits = index("search", "Do kittens purr?", "-k", 4, "--json", "--explain").values["hits"]
    assert hits[0]["document_id"] == "cats.md" and len(hits) == 4
    explanation = hits[0]["explanation"]
    assert explanation["fused_score"] == pytest.approx(hits[0]["score"])
    assert any(one["term"] == "purr" and one["written"] for one in explanation["words"])
    told = index("search", "Do kittens purr?", "--explain").out
    assert "Why [1] cats.md#" in told and " by vectors (cosine " in told and "Words of the query in it: " in told


def test_search_shows_what_a_prompt_would_show_around_a_hit(index: Ragft) -> None:
    expanded = ("--set", "index.search.expand=neighbours", "--set", "index.search.top_k=1")
    question = "When does Node.js 24 reach its end of life?"
    shown = index("search", question, *expanded)
    assert "End of life: 2027-04-30" in shown.out and "1 passages in" in shown.out
    found = index("search", question, *expanded, "--json").values
    (hit,), (passage,) = found["hits"], found["passages"]
    assert "2027-04-30" not in hit["text"] and "2027-04-30" in passage["text"]
    assert passage["start"] < hit["start"] and passage["heading"] == "Node.js"


@pytest.mark.medium
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
    [(["--where", "year"], "'year'"), (["--where", '{"year": {"newer": 1}}'], "'newer'"), (["--labels", "a[b"], "a[b")],
)
def test_conditions_that_cannot_be_understood_are_refused(index: Ragft, arguments: list[str], named: str) -> None:
    ended = index("search", "support", *arguments)
    assert ended.status == 2 and named in ended.sentence


def test_search_tells_how_long_each_stage_took(index: Ragft) -> None:
    last = index("search", "support").out.splitlines()[-1]
    assert [part.split()[0] for part in last.split(", ")] == ["filter", "encode", "dense", "lexical", "fuse", "hits"]
    assert index("search", "support", "--json").values["timings_ms"]["encode"] > 0


def test_a_configured_reranker_orders_the_passages(index: Ragft, tmp_path: Path) -> None:
    from support.indexes import make_cross_encoder

    rerank = f"index.search.reranker={make_cross_encoder(tmp_path / 'judge')}"
    hits = index("search", "support ends", "-k", 4, "--set", rerank, "--json").values["hits"]
    scores = [hit["rerank_score"] for hit in hits]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True) == [hit["score"] for hit in hits]
    timings = index("search", "support ends", "--set", rerank, "--json").values["timings_ms"]
    assert timings["rerank"] > 0
    ended = index("search", "support ends", "--set", f"index.search.reranker={tmp_path}")
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


def test_verify_all_tells_which_snapshot_is_damaged(index: Ragft, domain: Domain) -> None:
    first = index("list", "--json").values["snapshots"][0]["id"]
    domain.page("cats.md", "# Cats\n\n## Kittens\n\nA kitten sleeps.\n")
    second = index("refresh", "--json").values["snapshot"]
    assert [item["intact"] for item in index("verify", "--all", "--json").values["snapshots"]] == [True, True]
    assert f"Snapshot {second} (live) is intact" in index("verify").out
    documents = next((domain.workspace / "index" / "snapshots").glob(f"{first}.*.documents.arrow"))
    documents.write_bytes(documents.read_bytes()[:-1])
    ended = index("verify", "--all")
    assert (
        ended.status == 1 and f"Snapshot {first} is damaged" in ended.out and f"{second} (live) is intact" in ended.out
    )
    assert index("verify", first).status == 1 and index("verify", second).status == 0


@pytest.mark.medium
def test_diff_compact_and_gc_tell_what_they_found_and_did(index: Ragft, domain: Domain) -> None:
    first = index("list", "--json").values["snapshots"][0]["id"]
    for number in range(2):
        domain.page("cats.md", f"# Cats\n\n## Kittens\n\nA kitten sleeps {number} hours.\n")
        assert index("refresh").status == 0
    ended = index("diff", first)
    assert "~ cats.md" in ended.out
    assert "1 changed, 0 removed, 2 unchanged; 1 passage added, 1 removed, 3 unchanged" in ended.out
    assert "2 segments are one now" in index("compact").out
    assert "already" in index("compact").out
    before = files(domain.workspace)
    assert f"Would delete snapshot {first}" in index("gc", "--keep", 1, "--dry-run").out
    assert files(domain.workspace) == before
    assert index("gc", "--keep", 1, "--older-than", 1, "--json").values["removed"] == []
    assert index("gc", "--keep", 1, "--json").values["removed"] == [first]
    assert "0 snapshots go, 2 stay" in index("gc", "--keep", 1).out
    assert list(domain.workspace.glob("index/cache/*.sqlite"))
    assert index("gc", "--cache", "--json").values["freed"] > 0
    assert not list(domain.workspace.glob("index/cache/*.sqlite"))


def test_refresh_keeps_as_many_snapshots_as_configured(index: Ragft, domain: Domain) -> None:
    for number in range(3):
        domain.page("cats.md", f"# Cats\n\n## Kittens\n\nA kitten sleeps {number} hours.\n")
        ended = index("refresh", "--set", "index.refresh.keep_snapshots=2", "--check-content", "--wait", "--json")
    assert len(ended.values["pruned"]) == 1
    assert len(index("list", "--json").values["snapshots"]) == 2


def test_rebuild_encodes_everything_again(index: Ragft) -> None:
    values = index("build", "--rebuild", "--json").values
    assert (values["published"], values["chunks_to_embed"]) == (True, 4)


def test_another_encoder_is_refused(index: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragft.stages.application import Application

    class Other:
        fingerprint, source, dimension, max_tokens = "other", "another-encoder", 8, 64

    monkeypatch.setattr(Application, "encoder", Other())
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


@pytest.mark.medium
def test_read_shows_what_an_index_would_hold_and_makes_none(ragft: Ragft, domain: Domain) -> None:
    domain.page("plan.md", "---\nlabels: [board]\nyear: 2024\n---\n# Plan\n\n## Pay\n\nThe director earns 9.\n")
    documents = domain.folder / "documents"
    (documents / "logo.png").write_bytes(b"\x89PNG")
    ended = ragft("index", "read", documents / "plan.md", "--json", "-c", domain.config)
    (plan,) = ended.values["documents"]
    assert ended.status == 0 and ended.values["skipped"] == []
    assert (plan["id"], plan["title"], plan["labels"], plan["metadata"]) == (
        "plan.md",
        "Plan",
        ["board"],
        {"year": 2024},
    )
    (chunk,) = plan["chunks"]
    assert chunk["heading_path"] == ["Plan", "Pay"] and chunk["passage"] == "Plan > Pay\nThe director earns 9."
    assert plan["text"][chunk["start"] : chunk["end"]].endswith("The director earns 9.")
    assert chunk["encoder_tokens"] > chunk["model_tokens"] - 4 > 0
    shown = ragft("index", "read", documents, "-c", domain.config)
    assert shown.status == 0 and "4 documents" in shown.out and "labels: board" in shown.out
    assert not (domain.workspace / "index").exists()


def test_read_names_what_it_skips(ragft: Ragft, domain: Domain, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name, text in (("a.md", "labels:[board]\n\nPay.\n"), ("b.md", "# B\n\nOpen.\n"), (".c.md", "Hidden.\n")):
        (tmp_path / "elsewhere" / name).write_text(text)
    folder = tmp_path / "elsewhere"
    ended = ragft("index", "read", folder, folder / ".c.md", "--json", "-c", domain.config)
    assert ended.status == 1
    assert [document["id"] for document in ended.values["documents"]] == ["b.md"]
    reasons = {item["path"]: item["reason"] for item in ended.values["skipped"]}
    assert set(reasons) == {"a.md", ".c.md"} and "access labels" in reasons["a.md"] and "hidden" in reasons[".c.md"]
    missing = ragft("index", "read", folder / "none.md", "-c", domain.config)
    assert missing.status == 2 and "does not exist" in missing.sentence
