"""Golden questions: whose sources are lost is held back, by name and rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import Ended
from support.domains import Domain

from index.encoders.reranker import RerankScores
from ragft.data.golden import read_golden
from ragft.errors import UsageError
from ragft.stages.application import Application

Ragft = Callable[..., Ended]
pytestmark = pytest.mark.usefixtures("loaded_encoder")

SEARCH = {"top_k": 2, "mode": "lexical"}
GOLDEN = [
    {"id": "purr", "question": "Do kittens purr?", "sources": ["cats.md#Kittens"]},
    {"question": "When does Node.js 24 reach its end of life?", "sources": ["node.md#Node.js 24"]},
    {"question": "Who feeds the cats?", "sources": []},
]
CROWD = "# Crowd\n\n" + "".join(f"## Kitten {n}\n\nDo kittens purr? Yes, kitten {n} does purr.\n\n" for n in range(4))


@pytest.fixture
def golden(domain: Domain) -> Path:
    """Golden questions beside a configuration that asks them; lexical search, whose ranks can be told by eye."""
    domain.configure(index={"search": SEARCH, "refresh": {"gate": {"questions": "golden.jsonl"}}})
    return domain.lines("golden.jsonl", GOLDEN)


@pytest.fixture
def index(ragft: Ragft, domain: Domain, golden: Path) -> Ragft:
    def run(command: str, *arguments: object) -> Ended:
        return ragft("index", command, *arguments, "-c", domain.config)

    assert run("build").status == 0
    return run


def test_snapshot_that_keeps_its_golden_sources_goes_live(index: Ragft, domain: Domain) -> None:
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    values = index("refresh", "--json").values
    assert (values["published"], values["held"], values["gate"]["passed"]) == (True, False, True)
    assert values["gate"]["summary"].startswith("2 of 2 golden questions find their sources within the first 2 ")


@pytest.mark.medium
def test_snapshot_that_loses_a_golden_source_is_held_back_by_name_and_rank(index: Ragft, domain: Domain) -> None:
    live = index("list", "--json").values["snapshots"][0]["id"]
    domain.page("crowd.md", CROWD)
    ended = index("refresh")
    held = next(line for line in ended.err.splitlines() if line.startswith("Snapshot "))
    assert ended.status == 1 and "is held back in" in ended.out
    assert "Golden question purr (Do kittens purr?): cats.md#Kittens at rank 1 before and at rank 5 now." in held
    assert "1 lost them (index.refresh.gate.max_lost allows 0)" in held and "Node.js" not in held
    (candidate,) = [info for info in index("list", "--json").values["snapshots"] if info["held"]]
    assert f"`ragft index publish {candidate['id']}`" in held and not candidate["is_current"]
    assert f"* {live}" in (listed := index("list").out) and f"  {candidate['id']}" in listed and "held: " in listed
    assert "cats.md" in index("search", "kittens purr").out  # the live one serves on

    again = index("refresh", "--json")
    assert again.status == 1 and (again.values["held"], again.values["chunks_to_embed"]) == (True, 4)
    published = index("publish", candidate["id"], "--json")
    assert published.values == {"snapshot": candidate["id"]}
    assert "crowd.md" in index("search", "kittens purr").out
    assert index("refresh").status == 0  # nothing is due any more


def test_gate_can_be_left_out_once(index: Ragft, domain: Domain) -> None:
    domain.page("crowd.md", CROWD)
    values = index("refresh", "--no-gate", "--json").values
    assert (values["published"], values["gate"]) == (True, None)


def test_mended_documents_go_live(index: Ragft, domain: Domain) -> None:
    crowd = domain.page("crowd.md", CROWD)
    assert index("refresh").status == 1
    crowd.write_text("# Crowd\n\nDo kittens purr?\n")
    assert index("refresh").status == 0


def test_dry_run_asks_no_gate_and_holds_nothing(index: Ragft, domain: Domain) -> None:
    domain.page("crowd.md", CROWD)
    assert index("refresh", "--dry-run").status == 0
    assert len(index("list", "--json").values["snapshots"]) == 1


def test_source_that_went_with_its_document_is_told_and_holds_nothing_back(index: Ragft, domain: Domain) -> None:
    (domain.folder / "documents" / "cats.md").unlink()
    ended = index("refresh")
    assert ended.status == 0 and "published in" in ended.out
    assert "Golden question purr (Do kittens purr?): cats.md#Kittens went with its document;" in ended.err


def test_lost_section_of_a_document_that_stays_is_a_loss(index: Ragft, domain: Domain) -> None:
    domain.page("node.md", "# Node.js\n\n## Node.js 22\n\nEnd of life: 2027-04-30\n")
    ended = index("refresh")
    assert ended.status == 1
    assert "node.md#Node.js 24 at rank 1 before and not among the first 50 now." in ended.err


def gate(domain: Domain, **settings: Any) -> None:
    domain.configure(index={"search": SEARCH, "refresh": {"gate": {"questions": "golden.jsonl", **settings}}})


def test_as_many_as_configured_may_be_lost(index: Ragft, domain: Domain) -> None:
    gate(domain, max_lost=1)
    domain.page("crowd.md", CROWD)
    assert index("refresh").status == 0


def test_sources_are_looked_for_as_deep_as_configured(index: Ragft, domain: Domain) -> None:
    gate(domain, k=5)
    domain.page("crowd.md", CROWD)
    assert index("refresh").status == 0


def test_question_that_was_never_answered_holds_nothing_back_unless_a_recall_is_asked_for(
    index: Ragft, domain: Domain
) -> None:
    never = {"question": "Do kittens purr?", "sources": ["mysql.md"]}
    domain.lines("golden.jsonl", [*GOLDEN, never])
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    assert index("refresh").status == 0
    gate(domain, min_recall=0.9)
    domain.page("dogs.md", "# Dogs\n\nA dog barks loudly.\n")
    ended = index("refresh")
    assert ended.status == 1
    assert "2 of 3 golden questions" in ended.err and "67%; index.refresh.gate.min_recall asks for 90%" in ended.err
    assert "Golden question line 4 (Do kittens purr?): mysql.md not among the first 50 before and" in ended.err


def test_of_many_lost_questions_the_first_are_told_and_the_others_counted(index: Ragft, domain: Domain) -> None:
    domain.lines("golden.jsonl", [{**GOLDEN[0], "id": f"purr-{number:02}"} for number in range(25)])
    domain.page("crowd.md", CROWD)
    gate = index("refresh", "--json").values["gate"]
    assert [detail.split()[2] for detail in gate["details"][:20]] == [f"purr-{number:02}" for number in range(20)]
    assert gate["details"][20:] == ["And 5 more golden questions."]


def test_first_index_may_be_held_back_and_what_needs_it_says_why(ragft: Ragft, domain: Domain, golden: Path) -> None:
    gate(domain, min_recall=1.0)
    domain.lines("golden.jsonl", [{"question": "Do kittens purr?", "sources": ["mysql.md"]}])
    assert ragft("index", "build", "-c", domain.config).status == 1
    ended = ragft("index", "search", "kittens", "-c", domain.config)
    assert ended.status == 1 and "is held back by the gate" in ended.sentence


@pytest.mark.medium
def test_other_encoder_is_held_to_every_golden_question(
    index: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch, real_encoder: Any
) -> None:
    from index.encoders.encoder import Encoder
    from ragft.models import resolve_encoder

    other = Encoder(resolve_encoder("all-minilm-l6-v2"), dtype="float32", passage_prefix="passage: ")
    assert other.fingerprint != real_encoder.fingerprint
    monkeypatch.setattr(Application, "encoder", other)
    domain.page("crowd.md", CROWD)
    ended = index("build", "--rebuild")
    assert ended.status == 1 and "cats.md#Kittens could not be looked for before and at rank 5 now" in ended.err
    (domain.folder / "documents" / "crowd.md").unlink()
    assert index("build", "--rebuild").status == 0


class PrefersContent:
    """A reranker to which one page alone matters."""

    source = fingerprint = "prefers-content"

    def scores(self, query: str, passages: Sequence[str]) -> RerankScores:
        return np.array([float("content" in passage) for passage in passages])


def test_golden_questions_are_judged_by_the_ranking_that_is_served_reranker_included(
    index: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain.page("crowd.md", CROWD)
    assert index("refresh").status == 1
    monkeypatch.setattr(Application, "reranker", PrefersContent())
    ended = index("refresh", "--json")
    assert (ended.status, ended.values["published"], ended.values["gate"]["passed"]) == (0, True, True)
    assert "cats.md" in index("search", "Do kittens purr?", "-k", "1").out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"sources": ["a.md"]}', "line 1: field 'question' is missing"),
        ('{"question": "Why?", "sources": "a.md"}', "line 1: `sources` must be a list"),
        ('{"question": "Why?", "sources": [""]}', "line 1: `sources` must be a list"),
        ('{"question": "Why?"}', "has `sources`"),
        ("nonsense", "line 1: no JSON"),
        ("", "holds no golden questions"),
    ],
)
def test_wrong_golden_questions_are_refused_before_anything_is_done(
    ragft: Ragft, domain: Domain, golden: Path, line: str, sentence: str
) -> None:
    golden.write_text(line + "\n")
    ended = ragft("index", "build", "-c", domain.config)
    assert ended.status == 2 and sentence in ended.sentence
    assert not (domain.workspace / "index").exists()


def test_missing_file_of_golden_questions_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set index\.refresh\.gate\.questions to one"):
        read_golden(tmp_path / "golden.jsonl")


def test_evaluation_questions_will_do(domain: Domain) -> None:
    (question,) = read_golden(domain.folder / "questions.jsonl")
    assert (question.name, question.sources) == ("q1", ("cats.md#Kittens",))
