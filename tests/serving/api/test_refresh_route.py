"""`POST /admin/index/refresh`: what it answers when all is well, and when it is not."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.serving import Fakes, Running, make_application, running

import serving.deployment as deployment_module
from index.encoders.encoder import Encoder
from index.errors import EncoderMismatch
from index.refresh.refresh import refresh
from ragft.models import resolve_encoder
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from serving.app import create_app
from serving.deployment import load_pipeline, open_retriever
from serving.security import Keys

PAGES = {"tickets.md": "# Tickets\n\nA ticket costs 12 euros.\n", "dogs.md": "# Dogs\n\nDogs travel free.\n"}
CROWD = "# Offers\n\n" + "".join(f"## What a ticket costs {n}\n\nA ticket costs {n}, a ticket.\n\n" for n in range(4))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(resolve_encoder("all-minilm-l6-v2"))


@pytest.fixture
def application(tmp_path: Path, encoder: Encoder) -> Application:
    """Two pages and one golden question, asked of the first two passages."""
    for name, text in PAGES.items():
        (tmp_path / "documents").mkdir(exist_ok=True)
        (tmp_path / "documents" / name).write_text(text)
    golden = tmp_path / "golden.jsonl"
    golden.write_text(json.dumps({"id": "price", "question": "What a ticket costs", "sources": ["tickets.md"]}) + "\n")
    index = {
        "documents": {"folder": tmp_path / "documents"},
        "search": {"mode": "lexical", "top_k": 2},
        "refresh": {"gate": {"questions": golden}},
    }
    made = make_application(tmp_path, index)
    made.encoder = encoder
    return made


@pytest.fixture
def documents(application: Application) -> Path:
    return application.config.index.documents.folder


@pytest.fixture
def served(application: Application, documents: Path, encoder: Encoder, fakes: Fakes) -> Iterator[Running]:
    settings = application.config.index.refresh_settings(application.config.seed, model=application.model_tokenizer)
    refresh(application.index_root, documents, encoder, settings)

    async def load() -> Pipeline:
        return fakes.pipeline(await asyncio.to_thread(open_retriever, application))

    with running(create_app(application, load=load, keys=Keys({}))) as server:
        yield server


def ask(served: Running, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = httpx.post(served.url + "/admin/index/refresh", json=body, timeout=60)
    return answer.status_code, answer.json()


def live(served: Running) -> str:
    return str(httpx.get(served.url + "/admin/versions").json()["index_version"])


@pytest.mark.medium
def test_dry_run_tells_the_plan_and_the_time(served: Running, documents: Path) -> None:
    (documents / "cats.md").write_text("# Cats\n\nCats travel in baskets.\n")
    status, plan = ask(served, dry_run=True)
    assert (status, plan["added"], plan["unchanged"], plan["published"], plan["held"]) == (200, 1, 2, False, False)
    assert plan["estimate_basis"] == "sample" and plan["characters_per_second"] > 0 and plan["estimated_seconds"] >= 0
    assert (plan["gate"], plan["refusal"]) == (None, None)


@pytest.mark.medium
def test_gate_that_is_passed_is_in_the_answer(served: Running, documents: Path) -> None:
    (documents / "cats.md").write_text("# Cats\n\nCats travel in baskets.\n")
    status, done = ask(served)
    assert (status, done["published"], done["held"], done["gate"]["passed"]) == (200, True, False, True)
    assert done["gate"]["summary"].startswith("1 of 1 golden questions")
    assert live(served) == done["index_version"]


@pytest.mark.medium
def test_held_snapshot_is_422_with_what_was_lost_and_the_old_one_serves_on(served: Running, documents: Path) -> None:
    before = live(served)
    (documents / "offers.md").write_text(CROWD)
    status, held = ask(served)
    assert (status, held["published"], held["held"], held["added"]) == (422, False, True, 1)
    assert held["error"]["type"] == "unprocessable_entity_error"
    assert "price (What a ticket costs): tickets.md at rank 1 before and at rank " in held["error"]["message"]
    assert held["gate"]["details"] and live(served) == before
    status, published = ask(served, gate=False)
    assert (status, published["published"], published["gate"]) == (200, True, None)
    assert live(served) == held["index_version"] == published["index_version"]


def test_documents_that_cannot_be_read_are_named_with_what_became_of_them(served: Running, documents: Path) -> None:
    for name in ("dogs.md", "new.md"):
        (documents / name).write_bytes(b"\x00\x01")
    status, done = ask(served)
    assert (status, done["removed"]) == (200, 0)
    assert [item["path"] for item in done["kept"]] == ["dogs.md"]
    assert [item["path"] for item in done["skipped"]] == ["new.md"] and done["skipped"][0]["reason"]


@pytest.mark.medium
def test_too_many_removals_are_422_with_the_way_on(served: Running, documents: Path, application: Application) -> None:
    (documents / "more.md").write_text("# More\n\nMore of it.\n")
    assert ask(served)[0] == 200
    before = live(served)
    for name in ("more.md", "dogs.md"):
        (documents / name).unlink()
    assert "2 of 3 indexed documents" in ask(served, dry_run=True)[1]["refusal"]
    status, refused = ask(served)
    assert (status, refused["error"]["param"]) == (422, "allow_removal")
    message = refused["error"]["message"]
    assert (
        "2 of 3 indexed documents" in message
        and '{"allow_removal": true}' in message
        and str(application.index_root) not in message
    )
    assert live(served) == before
    status, done = ask(served, allow_removal=True)
    assert (status, done["removed"], done["published"]) == (200, 2, True)


def test_full_disk_is_507_and_the_old_snapshot_serves_on(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    before = live(served)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(deployment_module, "refresh", full)
    status, refused = ask(served)
    assert (status, refused["error"]["type"]) == (507, "insufficient_storage_error")
    assert live(served) == before and httpx.get(served.url + "/health/ready").status_code == 200


def test_golden_questions_that_cannot_be_read_are_422(served: Running, application: Application) -> None:
    golden = application.config.index.refresh.gate.questions
    assert golden is not None
    golden.unlink()
    status, refused = ask(served)
    assert status == 422 and str(golden) not in refused["error"]["message"]


@pytest.mark.medium
def test_documents_that_are_named_are_all_that_is_looked_at(served: Running, documents: Path) -> None:
    (documents / "dogs.md").write_text("# Dogs\n\nDogs pay half.\n")
    (documents / "cats.md").write_text("# Cats\n\nCats travel in baskets.\n")
    status, done = ask(served, documents=["cats.md"])
    assert (status, done["added"], done["changed"], done["unchanged"]) == (200, 1, 0, 2)
    assert ask(served, documents=[])[1]["published"] is False
    assert ask(served, documents=["folder/", "\u0646\u200c.md", "Screenshot\u202f1.md"])[0] == 200
    assert ask(served)[1]["changed"] == 1


@pytest.mark.medium
@pytest.mark.parametrize("name", ["/etc/passwd", "../golden.jsonl", "a/../../b.md", "", "a//b.md", "./a.md", "a\n.md"])
def test_name_that_is_no_plain_path_below_the_folder_is_400(served: Running, name: str) -> None:
    status, refused = ask(served, documents=["dogs.md", name])
    assert (status, refused["error"]["param"]) == (400, "documents")


@pytest.mark.medium
@pytest.mark.parametrize("body", [{"gate": "no"}, {"allow_removal": 1}, {"snapshot": "x"}, {"documents": "dogs.md"}])
def test_body_that_asks_for_something_else_is_400(served: Running, body: dict[str, Any]) -> None:
    assert ask(served, **body)[0] == 400


@pytest.mark.medium
def test_index_of_another_encoder_is_refused_before_any_engine_is_started(
    application: Application, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(application.index_root, documents, Encoder(resolve_encoder("all-minilm-l6-v2"), passage_prefix="passage: "))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("an engine was opened first")

    monkeypatch.setattr(Application, "engine", never)
    with pytest.raises(EncoderMismatch, match="ragft index build --rebuild"):
        asyncio.run(load_pipeline(application))
