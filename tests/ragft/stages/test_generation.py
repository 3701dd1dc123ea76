"""`ragft data generate`: verified, split by document, resumed; and a model that writes behind a scripted server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.commands import Ended
from support.domains import Domain, application
from support.indexes import HashEncoder, WordTokenizer
from support.judges import Judge, serving

from ragft.config import load_config
from ragft.data.audit import audit_data
from ragft.data.examples import read_examples
from ragft.data.questions import read_questions
from ragft.data.split import split
from ragft.errors import RagftError, UsageError
from ragft.stages import generation
from ragft.stages.application import Application
from ragft.stages.generation import Generation, generate

SIZES = {"examples": 30, "questions": 12, "question_share": 0.4}
TEXTS = {"boat": "A boat that is moored for longer than a day pays twice the fee of a day.", "harbour": "Open at ten."}


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> HashEncoder:
    """Words as vectors: nothing is loaded."""
    encoder = HashEncoder(WordTokenizer())
    monkeypatch.setattr(Application, "encoder", encoder)
    monkeypatch.setattr(Application, "encoder_folder", property(lambda app: Path("none")))
    monkeypatch.setattr(Application, "model_tokenizer", None)
    return encoder


@pytest.fixture
def ferries(tmp_path: Path) -> Domain:
    """Six pages of one pattern; each lacks what another one has."""
    made = Domain(tmp_path / "desk")
    for number, name in enumerate(("Anna", "Berta", "Clara", "Doris", "Emma", "Frieda")):
        keys = ("crew", "length in metres", "launched", "home port")
        values = (f"{number + 3} people", f"{number + 20}.5", f"20{10 + number}-04-0{number + 1}", f"Port {name}")
        cabins = ""
        for cabin in range(4):
            lines = [f"- {key}: {value}" for key, value in zip(keys, values, strict=True)]
            lines[cabin] = f"- beds: {number * 4 + cabin + 40}"
            cabins += f"\n## {name} {cabin + 1}\n\n" + "\n".join(lines) + "\n"
        made.page(f"{name.lower()}.md", f"# {name}\n\nA ferry.\n{cabins}")
    return made


def configured(domain: Domain, **settings: Any) -> Application:
    data = {
        "examples": "generated/examples.jsonl", "questions": "generated/questions.jsonl",
        "generate": {**SIZES, **settings},
    }  # fmt: skip
    domain.configure(data=data)
    return domain.application()


def rows(domain: Domain, name: str) -> list[dict[str, Any]]:
    path = domain.folder / "generated" / name
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_made_is_verified_complete_and_of_other_documents_on_each_side(ferries: Domain) -> None:
    app = configured(ferries)
    artifact = generate(app)
    examples, questions = rows(ferries, "examples.jsonl"), rows(ferries, "questions.jsonl")
    assert (len(examples), len(questions)) == (30, 12)
    assert {row["group"] for row in examples}.isdisjoint(row["group"] for row in questions)
    assert {tag for row in examples for tag in row["tags"]} >= {"single", "comparison", "unanswerable", "follow-up"}
    text = {path.name: path.read_text() for path in (ferries.folder / "documents").iterdir()}
    for row in questions:
        for source in row["sources"]:
            assert row["answerable"] and source.partition("#")[0] == row["group"]
        if "single" in row["tags"]:
            assert row["answers"][0] in text[row["group"]]
    findings = audit_data(configured(ferries))
    assert findings.errors == [] and artifact.figures["rejected"].keys() <= {"copy", "value", "stated", "ambiguous"}
    assert all(row["reason"] and row["question"] for row in rows(ferries, "rejected.jsonl"))


def test_it_is_made_once_and_again_for_other_wordings(ferries: Domain) -> None:
    first = generate(configured(ferries))
    assert generate(configured(ferries)).fingerprint == first.fingerprint
    templates = ferries.folder / "generated" / "templates.yaml"
    templates.write_text(templates.read_text().replace("{subject}: what is the", "Of {subject}, what is the"))
    assert generate(configured(ferries)).fingerprint != first.fingerprint
    assert any(row["question"].startswith("Of ") for row in rows(ferries, "examples.jsonl"))


def test_a_file_that_was_edited_is_not_replaced(ferries: Domain) -> None:
    generate(configured(ferries))
    path = ferries.folder / "generated" / "examples.jsonl"
    path.write_text(path.read_text().replace("crew", "people"))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="was edited"):
        generate(configured(ferries, examples=20))
    assert path.read_bytes() == before


def test_interrupted_it_goes_on_where_it_was(
    ferries: Domain, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "_BATCH", 4)
    asked: list[str] = []
    encode = HashEncoder.encode_queries

    def interrupted(self: HashEncoder, texts: list[str]) -> Any:
        asked.extend(texts)
        if len(asked) > 12:
            raise KeyboardInterrupt
        return encode(self, texts)

    with monkeypatch.context() as patch:
        patch.setattr(HashEncoder, "encode_queries", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(configured(ferries))
    assert not (ferries.folder / "generated" / "examples.jsonl").exists()
    # As `kill -9` amid a write would leave it.
    with (ferries.workspace / "data" / generation.SEARCHES).open("a") as file:
        file.write('{"key": "abc", "hi')
    done, again = set(asked[:12]), list[str]()
    monkeypatch.setattr(HashEncoder, "encode_queries", lambda self, texts: encode(self, again.extend(texts) or texts))
    generate(configured(ferries))
    assert len(rows(ferries, "examples.jsonl")) == 30 and done and done.isdisjoint(again)


def test_documents_with_access_labels_are_left_out_unless_asked_for(ferries: Domain) -> None:
    page = ferries.folder / "documents" / "anna.md"
    page.write_text("---\nlabels: [staff]\n---\n" + page.read_text())
    app = configured(ferries)
    generate(app)
    assert any("1 document with access labels left out" in line for line in app.reporter.said)  # type: ignore[attr-defined]
    groups = {row["group"] for name in ("examples.jsonl", "questions.jsonl") for row in rows(ferries, name)}
    assert "anna.md" not in groups
    generate(configured(ferries, restricted=True))
    groups = {row["group"] for name in ("examples.jsonl", "questions.jsonl") for row in rows(ferries, name)}
    assert "anna.md" in groups


@pytest.mark.parametrize("names", [("anna.md",), ("anna.md", "berta.md")])
def test_of_fewer_than_three_documents_the_chapters_are_told_apart(ferries: Domain, names: tuple[str, ...]) -> None:
    for path in (ferries.folder / "documents").iterdir():
        if path.name not in names:
            path.unlink()
    app = configured(ferries)
    generate(app)
    asked = {source for row in rows(ferries, "questions.jsonl") for source in row["sources"]}
    taught = {source for row in rows(ferries, "examples.jsonl") for source in row.get("sources", [])}
    assert asked and taught and asked.isdisjoint(taught)
    assert any("told apart by chapters" in line for line in app.reporter.said)  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_made_of_few_documents_can_be_split(ferries: Domain, count: int) -> None:
    for path in sorted((ferries.folder / "documents").iterdir())[count:]:
        path.unlink()
    generate(configured(ferries, question_share=0.6))
    train, validation = split(read_examples(ferries.folder / "generated" / "examples.jsonl"), 0.2, 0)
    assert train and validation


def test_two_groups_are_left_to_train_on(ferries: Domain) -> None:
    for path in sorted((ferries.folder / "documents").iterdir())[3:]:
        path.unlink()
    generate(configured(ferries, question_share=0.9))
    groups = [{row["group"] for row in rows(ferries, name)} for name in ("examples.jsonl", "questions.jsonl")]
    assert [len(one) for one in groups] == [2, 1]


def test_examples_of_which_none_could_validate_are_told(tmp_path: Path) -> None:
    domain = Domain(tmp_path / "desk")
    domain.page("two.md", "# Two\n\n## Boat\n\n- fee: 3 EUR\n- crew: nine\n\n## Car\n\n- fee: 4 EUR\n- seats: five\n")
    app = configured(domain)
    generate(app)
    assert any("All examples are related" in line for line in app.reporter.said)  # type: ignore[attr-defined]


def test_prose_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    domain = Domain(tmp_path / "desk")
    for name, text in TEXTS.items():
        domain.page(f"{name}.md", f"# {name}\n\n{text} And more of that.\n")
    with pytest.raises(UsageError, match=r"there was no candidate.*data.generate.by = both"):
        generate(configured(domain))


def test_what_exists_is_not_copied(ferries: Domain) -> None:
    generate(configured(ferries))
    own = rows(ferries, "questions.jsonl")
    path = ferries.lines("mine.jsonl", [{**row, "id": f"m{n}"} for n, row in enumerate(own)])
    taught = read_examples(ferries.folder / "generated" / "examples.jsonl")
    ferries.lines("taught.jsonl", [{"question": one.question, "answer": one.answer} for one in taught[:1]])
    app = configured(ferries, avoid=["mine.jsonl", "taught.jsonl"], question_share=0.6)
    generate(app)
    examples = {row["question"] for row in rows(ferries, "examples.jsonl") if "history" not in row}
    assert examples.isdisjoint(row["question"] for row in read_lines(path))
    assert taught[0].question not in {row["question"] for row in rows(ferries, "questions.jsonl")}


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- a model behind a server


def writes(shown: str) -> str:
    """What a good model says: it copies values out of passages, and answers its own questions from them."""
    if "Question: " in shown:
        name = re.search(r"Question: .*?(\w+ \d)", shown)
        found = re.search(rf"> {name[1]}\n(?:.*\n)*?.*crew: (\d+ people)", shown) if name and "crew" in shown else None
        return found[1] if found and "crew" in shown.rpartition("Question: ")[2] else "NOT STATED"
    heading = re.search(r"Passage 1:\n.* > (.*)\n", shown)
    crew = re.search(r"crew: (.*)", shown.partition("Passage 2")[0])
    if heading is None or crew is None or "Write up to" not in shown:
        return "I cannot help with that."
    return json.dumps([{"question": f"How large is the crew on {heading[1]}?", "answer": crew[1]}])


def served(domain: Domain, url: str, *, model: str | None = "m", **settings: Any) -> Application:
    shares = dict.fromkeys(("comparison_share", "unanswerable_share", "follow_up_share"), 0.0)
    server = {"url": url, "model": model}
    sizes = {"examples": 6, "questions": 4, "per_request": 1, "concurrency": 2, "retries": 0}
    return configured(domain, server=server, **{"by": "model", **sizes, **shares, **settings})


def test_a_models_questions_are_verified_and_checked_by_it(ferries: Domain) -> None:
    with serving(Judge(says=writes)) as server:
        artifact = generate(served(ferries, server.url))
        count = len(server.requests)
        examples = rows(ferries, "examples.jsonl")
        assert examples and all("model" in row["tags"] and "people" in row["answer"] for row in examples)
        assert artifact.figures["model"]["requests"] == count
        assert artifact.figures["rejected"]["reply"] > 0, "pages without a crew are refused"
        generate(served(ferries, server.url))
        assert len(server.requests) == count, "nothing is asked twice"
        assert {row.get("reply") for row in rows(ferries, "rejected.jsonl")} >= {"I cannot help with that."}


def test_a_server_that_fails_on_the_way_is_resumed_without_asking_again(ferries: Domain) -> None:
    with serving(Judge(says=writes, fails_after=7)) as server:
        with pytest.raises(RagftError, match=r"7 replies are kept, and the same command goes on from there"):
            generate(served(ferries, server.url))
        asked = [json.dumps(body["messages"]) for body in server.requests[:7]]
        server.fails_after = None
        server.requests.clear()
        generate(served(ferries, server.url))
        assert set(asked).isdisjoint(json.dumps(body["messages"]) for body in server.requests)
        assert rows(ferries, "examples.jsonl")


@pytest.mark.parametrize("model", ["m", None])
def test_a_server_that_is_down_is_said_so(ferries: Domain, model: str | None) -> None:
    with pytest.raises(RagftError, match=r"http://127.0.0.1:9/v1 does not write questions .*start it"):
        generate(served(ferries, "http://127.0.0.1:9/v1", model=model))


def test_a_server_that_talks_nonsense_is_said_so(ferries: Domain) -> None:
    with (
        serving(Judge(says=lambda shown: "Lorem ipsum")) as server,
        pytest.raises(
            UsageError,
            match=r"No examples could be verified \(reply: \d+; the first: the reply holds no JSON.*larger model",
        ),
    ):
        generate(served(ferries, server.url))


def test_half_a_character_in_a_reply_ends_nothing(ferries: Domain) -> None:
    def says(shown: str) -> str:
        said = writes(shown)
        return said.replace("How large", "\\ud83d How large") if "Anna" in shown else f"{said} \ud83d"

    with serving(Judge(says=says)) as server:
        generate(served(ferries, server.url))
    assert rows(ferries, "examples.jsonl")
    reasons = {row["reason"] for row in rows(ferries, "rejected.jsonl")}
    assert "`question` of a question in the reply holds half a character" in reasons


def test_both_lets_the_model_fill_what_structure_lacks(ferries: Domain) -> None:
    with serving(Judge(says=writes)) as server:
        estimate = Generation(served(ferries, server.url, by="both", examples=10)).estimate()
        assert estimate.candidates > 40 and estimate.requests == 0 == len(server.requests)
        generate(served(ferries, server.url, by="both", examples=10))
        assert server.requests == []
        estimate = Generation(served(ferries, server.url)).estimate()
        assert estimate.requests > 0 and estimate.prompt_tokens > 0 and server.requests == []


def test_the_command_says_what_it_made(ferries: Domain, ragft: Callable[..., Ended]) -> None:
    configured(ferries)
    dry = ragft("data", "generate", "--dry-run", "-c", ferries.config)
    assert dry.status == 0 and "no model is asked" in dry.out
    assert not (ferries.folder / "generated" / "examples.jsonl").exists()
    ended = ragft("data", "generate", "-c", ferries.config, "--examples", "20", "--json")
    assert ended.status == 0, ended.err
    assert ended.values["examples"]["count"] == 20 and ended.values["questions"]["count"] == 12


def test_new_from_documents_makes_a_domain_to_run(
    ferries: Domain, ragft: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ferries.folder)
    ended = ragft("new", "harbour", "--from", "documents")
    assert ended.status == 0, ended.err
    made = ferries.folder / "harbour"
    assert sorted(path.name for path in (made / "documents").iterdir())[0] == "anna.md"
    config = load_config(made / "ragft.yaml", [f"workspace={made / 'workspace' / 'harbour'}"])
    assert len(read_examples(config.data.examples)) > 20 and len(read_questions(config.data.questions)) > 10
    assert audit_data(application(config)).errors == []
    assert "cd harbour && ragft check && ragft run" in ended.err
    for wrong, message in (("nowhere", "no folder of documents"), (".", "is within")):
        assert message in ragft("new", "other", "--from", wrong).sentence


@pytest.mark.slow
def test_the_bundled_documents_alone_give_500_examples_and_200_questions(tmp_path: Path) -> None:
    folder = tmp_path / "generated"
    overrides = [f"workspace={tmp_path / 'out'}", f"data.generate.folder={folder}"]
    app = application(load_config(ROOT / "configs" / "lifecycle-generated.yaml", overrides))
    figures = generate(app).figures
    assert figures["examples"]["count"] >= 500 and figures["questions"]["count"] >= 200
    examples, questions = read_examples(folder / "examples.jsonl"), read_questions(folder / "questions.jsonl")
    groups = {one.group for one in examples}
    assert groups.isdisjoint(one.group for one in questions)
    assert groups.isdisjoint(source.partition("#")[0] for one in questions for source in one.sources)
