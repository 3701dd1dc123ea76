"""`ragft data export` and `import`: folders that other tools take, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain
from support.indexes import HashEncoder, WordTokenizer

from ragft.data.examples import as_line, read_examples
from ragft.data.formats.targets import TARGETS
from ragft.stages.application import Application
from ragft.stages.data import rows
from ragft.stages.moving import export_examples

Ragft = Callable[..., Ended]
HISTORY = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello [1]"}]


@pytest.fixture
def desk(domain: Domain) -> Domain:
    """Sixteen examples: with sources, citations, groups, worse answers, a history, and a field of the author's own."""
    made = [
        {
            "id": f"e{number}", "question": f"When does part {number} end?", "answer": f"In 20{number + 10} [1]",
            "sources": ["node.md#Node.js 22"], "group": f"g{number // 2}", "tags": ["date"], "checked_by": "Ann",
            "reviewed_by": ["Ben"], "rejected": "Never.",
        }
        for number in range(14)
    ]  # fmt: skip
    made.append({"id": "h", "question": "And then?", "answer": "No.", "history": HISTORY})
    made.append(
        {
            "id": "odd",
            "messages": [
                *HISTORY[:1],
                {"role": "system", "content": "x"},
                *HISTORY[:1],
                {"role": "assistant", "content": "Yes."},
            ],
        }
    )
    domain.lines("examples.jsonl", made)
    domain.configure(prompt={"system": "Answer in one line."})
    return domain


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8-sig").split("\n") if line]


@pytest.mark.medium
@pytest.mark.parametrize("name", TARGETS)
def test_every_folder_comes_back_as_the_examples_it_was_made_of(
    desk: Domain, ragft: Ragft, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "there"
    ended = ragft("data", "export", "-c", desk.config, "--to", name, "--out", out, "--json")
    assert ended.status == 0
    told = json.loads(ended.out)
    target = TARGETS[name]  # type: ignore[index]
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {*target.files.values(), *target.companions(False)}
    train = out / target.files["train"]
    assert train.read_bytes().startswith(b"\xef\xbb\xbf") == target.with_mark
    assert told["rows"]["train"] == len(read(train)) >= 10
    assert told["lost"]["sources"] == 14 and told["lost"]["checked_by"] == 14 and told["without_marks"] == 14
    assert not any("[1]" in row for row in train.read_text().split("\n") if "Hello [1]" not in row)
    back = []
    for name, part in target.files.items():
        file = tmp_path / f"{Path(part).stem}-back.jsonl"
        lost = f"{out}.{name}.lost.jsonl"
        ended = ragft("data", "import", "-c", desk.config, out / part, "--lost", lost, "--out", file, "--json")
        assert ended.status == 0 and json.loads(ended.out)["unclaimed"] == 0
        back += [as_line(one) for one in read_examples(file)]
        assert all((row["checked_by"], row["reviewed_by"]) == ("Ann", ["Ben"]) for row in read(file) if "tags" in row)
    assert {one["id"]: one for one in back} == {
        one.id: as_line(one) for one in read_examples(desk.folder / "examples.jsonl")
    }


def test_an_export_says_what_the_tool_has_no_place_for_and_keeps_it(desk: Domain, ragft: Ragft, tmp_path: Path) -> None:
    ended = ragft("data", "export", "-c", desk.config, "--to", "vertex", "--out", tmp_path / "v")
    assert ended.status == 0
    assert (
        "Vertex AI has no place for" in ended.out
        and "sources (14)" in ended.out
        and "citations (14)" in ended.out
        and "rejected (14)" in ended.out
    )
    assert "Citations are left out of 14 answers" in ended.out
    assert "1 row, because contents.1.role" in ended.out and "example 'odd'" in ended.out
    assert ended.out.rstrip().endswith(f"Result: {tmp_path / 'v'}")
    again = ragft("data", "export", "-c", desk.config, "--to", "vertex", "--out", tmp_path / "v")
    assert again.status == 2 and "exists already" in again.err


def test_pairs_are_written_of_examples_with_a_worse_answer(desk: Domain, ragft: Ragft, tmp_path: Path) -> None:
    out = tmp_path / "dpo"
    ended = ragft("data", "export", "-c", desk.config, "--to", "openai", "--preferences", "--out", out)
    assert ended.status == 0
    pair = read(out / "train.jsonl")[0]
    assert pair["input"]["messages"][0]["content"] == "Answer in one line."
    assert pair["non_preferred_output"] == [{"role": "assistant", "content": "Never."}]
    assert "2 rows, because they have no worse answer, or one that differs by citations alone" in ended.out
    refused = ragft("data", "export", "-c", desk.config, "--to", "vertex", "--preferences", "--out", tmp_path / "v")
    assert refused.status == 2 and "no preference files for Vertex AI" in refused.err


def test_too_few_rows_for_a_tool_are_refused_and_nothing_is_left(domain: Domain, ragft: Ragft, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    ended = ragft("data", "export", "-c", domain.config, "--to", "openai", "--out", tmp_path / "o")
    assert ended.status == 2 and "OpenAI needs 10 rows in its train file at least, and there are 3" in ended.err
    assert set(tmp_path.iterdir()) == before
    unknown = ragft("data", "export", "-c", domain.config, "--to", "bedrock", "--out", tmp_path / "o")
    assert unknown.status == 2 and "choose one of openai, azure" in unknown.err


def test_rows_of_the_mix_are_written_as_they_are_trained(
    domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Application, "encoder", HashEncoder(WordTokenizer()))
    monkeypatch.setattr(Application, "encoder_folder", property(lambda app: Path("none")))
    monkeypatch.setattr(Application, "model_tokenizer", None)
    app = domain.application()
    told = export_examples(app, TARGETS["unsloth"], tmp_path / "u", with_passages=True, preferences=False)
    written = read(tmp_path / "u" / "train.jsonl")
    assert [row["conversations"] for row in written] == [list(row.messages) for row in rows(app, "train")]
    assert any("Passages:\n[1]" in row["conversations"][1]["content"] for row in written)
    lost = read(tmp_path / "u.train.lost.jsonl")
    assert lost[0]["fields"]["origin"].startswith("mix ") and "group" in lost[0]["fields"]
    assert told.without_marks == 0 and told.rows["train"] == 3


def test_a_table_is_imported_by_its_columns_and_an_existing_file_stays(
    domain: Domain, ragft: Ragft, tmp_path: Path
) -> None:
    table, out = tmp_path / "faq.csv", tmp_path / "faq.jsonl"
    table.write_text("Frage;Antwort\nWann?;Um zehn.\n")
    names = "question=Frage,answer=Antwort"
    assert ragft("data", "import", "-c", domain.config, table, "--map", names, "--out", out).status == 0
    assert read(out) == [{"question": "Wann?", "answer": "Um zehn."}]
    again = ragft("data", "import", "-c", domain.config, table, "--map", names, "--out", out)
    assert again.status == 2 and "exists already" in again.err
    wrong = ragft("data", "import", "-c", domain.config, table, "--format", "xml", "--out", tmp_path / "x.jsonl")
    assert wrong.status == 2 and "choose one of auto, sharegpt" in wrong.err
    unclear = ragft("data", "import", "-c", domain.config, table, "--out", tmp_path / "x.jsonl")
    assert unclear.status == 2 and "Antwort, Frage" in unclear.err and "--map" in unclear.err
