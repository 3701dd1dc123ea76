"""`ragft index train-encoder`: what is compared, what is refused, and that nothing is replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain
from support.tiny_encoder import FACTS, KINDS, make_encoder, page
from transformers import AutoTokenizer

from index.encoders.encoder import Encoder
from index.search.hard_negatives import Pair
from ragft.config import Config
from ragft.data.examples import Example
from ragft.data.jsonl import read_objects
from ragft.data.pairs import read_pairs
from ragft.errors import UsageError
from ragft.evaluate.encoders import comparison
from ragft.models import resolve_encoder
from ragft.stages.encoder import Known, _parts

Ragft = Callable[..., Ended]
WAYS = ("tell me about the {}", "what is the {}", "please say the {}", "where do I see the {}")


def questions() -> list[dict[str, Any]]:
    return [
        {
            "question": way.format(f"{kind} {fact}"),
            "answer": "see [1]",
            "sources": [f"{kind}.md#{kind} {fact}"],
            "group": f"{kind} {number}",
        }
        for number, way in enumerate(WAYS)
        for kind in KINDS
        for fact in FACTS
    ]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(resolve_encoder("all-minilm-l6-v2"), local_files_only=True)
    return make_encoder(tmp_path_factory.mktemp("tiny"), tokenizer)


@pytest.fixture
def desk(tmp_path: Path, tiny: Path) -> Domain:
    """A domain that a tiny random encoder can learn."""
    made = Domain(tmp_path / "desk")
    for kind in KINDS:
        made.page(f"{kind}.md", page(kind))
    made.lines("examples.jsonl", questions())
    configure(made, tiny, epochs=8, learning_rate=3e-3)
    return made


def configure(made: Domain, encoder: Path, **training: Any) -> None:
    training = {"validation_share": 0.3, **training}
    settings = {"model": str(encoder), "dtype": "float32", "training": training}
    made.configure(index={"encoder": settings, "search": {"top_k": 2, "mode": "dense"}})


@pytest.mark.medium
def test_better_encoder_is_an_artifact_with_both_scores_and_replaces_nothing_by_itself(
    ragft: Ragft, desk: Domain, tiny: Path
) -> None:
    assert ragft("index", "build", "-c", desk.config).status == 0
    live = (desk.workspace / "index" / "CURRENT").read_text()
    settings = desk.config.read_text()
    ended = ragft("index", "train-encoder", "-c", desk.config)
    assert ended.status == 0, ended.err
    (folder,) = (path.parent for path in (desk.workspace / "encoders").glob("*/manifest.json"))
    trained = folder / "encoder"
    assert "Better: dense nDCG@10" in ended.out and str(trained) in ended.out and "--rebuild" in ended.out
    assert (desk.workspace / "index" / "CURRENT").read_text() == live
    assert desk.config.read_text() == settings
    again = ragft("index", "train-encoder", "-c", desk.config, "--json").values
    assert again["folder"] == str(folder) and again["better"]
    measure = again["measures"]["dense nDCG@10"]
    assert measure["after"] > measure["before"] and measure["difference"]["low"] > 0
    assert again["encoders"] == {
        "before": Encoder(tiny, dtype="float32").fingerprint,
        "after": Encoder(trained, dtype="float32").fingerprint,
    }
    held_out = again["questions"]["held_out"]
    assert again["questions"]["train"] + held_out == len(questions()) and held_out == measure["difference"]["n"]
    assert not list(folder.glob("index*"))
    # What is mined never holds the question's own passage, and no held-out question.
    rows = [row for _, row in read_objects(folder / "rows.jsonl", "rows", "")]
    assert len({row["question"] for row in rows}) == again["questions"]["train"]
    assert not [row for row in rows if row["positive_id"] in row["negative_ids"]]
    # The printed line of configuration is what the index needs to follow.
    configure(desk, trained)
    assert ragft("index", "search", "-c", desk.config, "printer port").status == 1
    assert ragft("index", "build", "--rebuild", "-c", desk.config).status == 0
    assert ragft("index", "search", "-c", desk.config, "printer port").status == 0


@pytest.mark.medium
def test_encoder_that_learnt_nothing_is_not_recommended(ragft: Ragft, desk: Domain, tiny: Path) -> None:
    configure(desk, tiny)
    ended = ragft("index", "train-encoder", "-c", desk.config, "--learning-rate", "1e-12", "--batch-size", "32")
    assert ended.status == 1
    assert "No significant improvement" in ended.out and "Keep the current encoder" in ended.out
    assert "model:" not in ended.out and "--rebuild" not in ended.out


@pytest.mark.medium
def test_interrupted_comparison_does_not_train_again(
    ragft: Ragft, desk: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ragft.stages.encoder as module

    def stop(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "comparison", stop)
        assert ragft("index", "train-encoder", "-c", desk.config).status == 130
    monkeypatch.setattr(module, "train", stop)
    assert ragft("index", "train-encoder", "-c", desk.config).status == 0


@pytest.mark.medium
@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "holds no pairs"),
        ([{"question": "Where?"}], "line 1: write `sources` as a list of texts, or `passage` as a text"),
        ([{"sources": ["a.md"]}], "line 1: field 'question' is missing"),
        ([{"question": "Where?", "sources": ["gone.md"]}], "names the source 'gone.md', which the index does not hold"),
        ([{"question": "Where?", "passage": "nowhere in the index at all"}], "names a passage of the index"),
        ([{"question": "Where?", "sources": ["printer.md"]}], "1 questions with a source are too few"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused_in_a_sentence(
    ragft: Ragft, desk: Domain, rows: list[dict[str, Any]], sentence: str
) -> None:
    pairs = desk.lines("pairs.jsonl", rows)
    assert ragft("index", "build", "-c", desk.config).status == 0
    ended = ragft("index", "train-encoder", "-c", desk.config, "--pairs", pairs)
    assert ended.status == 2 and sentence in ended.sentence
    assert not (desk.workspace / "encoders").exists()


def test_examples_without_sources_stale_documents_and_lexical_search_are_refused(
    ragft: Ragft, desk: Domain, tiny: Path
) -> None:
    desk.lines("examples.jsonl", [{"question": "Who?", "answer": "I do not know."}])
    assert "give examples `sources`" in ragft("index", "train-encoder", "-c", desk.config).err
    desk.page("printer.md", "# printer\n\nIt is gone.\n")
    ended = ragft("index", "train-encoder", "-c", desk.config)
    assert ended.status == 1 and "run `ragft index refresh` first" in ended.err
    ended = ragft("index", "train-encoder", "-c", desk.config, "--set", "index.search.mode=lexical")
    assert ended.status == 2 and "uses no encoder" in ended.sentence


def test_evaluation_questions_are_not_trained_on(ragft: Ragft, desk: Domain) -> None:
    asked = questions()[0]["question"]
    desk.lines("questions.jsonl", [{"id": "q", "question": asked, "answers": ["x"]}])
    assert "are also training examples" in ragft("index", "train-encoder", "-c", desk.config).sentence


def test_held_out_questions_share_no_group_and_no_words_with_trained_ones() -> None:
    examples = tuple(Example(str(n), f"Question  {n % 30}", "", ("a",), group=f"g{n % 14}") for n in range(60))
    pairs = {e.id: Pair(e.id, e.question, (frozenset("a"),)) for e in examples}
    config = Config(name="desk")
    train, held_out = _parts(Known(examples, pairs, 0), config)
    group = {example.id: example.group for example in examples}
    assert train and held_out
    assert not {group[pair.id] for pair in train} & {group[pair.id] for pair in held_out}
    assert not {pair.question for pair in train} & {pair.question for pair in held_out}


def test_better_means_that_the_interval_lies_above_zero() -> None:
    name = "hybrid nDCG@10"

    def better(after: list[float]) -> bool:
        return comparison({name: [0.5] * 40}, {name: after}, "hybrid")["better"]  # type: ignore[no-any-return]

    assert better([0.6] * 40)
    for after in ([0.5] * 40, [0.4] * 40, [0.0] * 19 + [1.0] * 21):
        assert not better(after)


@pytest.mark.medium
def test_passages_are_found_in_the_index_by_their_text(ragft: Ragft, desk: Domain) -> None:
    rows = [
        {
            "question": q["question"],
            "passage": "The {1} of  the {0} is set here.".format(*q["sources"][0].split("#")[1].split()),
        }
        for q in questions()
    ]
    pairs = desk.lines("pairs.jsonl", [*rows, {"question": "Else?", "passage": "something else entirely"}])
    ended = ragft("index", "train-encoder", "-c", desk.config, "--pairs", pairs, "--epochs", 1)
    assert "1 questions have no source in the index and were left out" in ended.err
    assert "trained on" in ended.out


def test_two_pairs_of_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"id": 1, "question": "a", "passage": "b"}\n' * 2)
    with pytest.raises(UsageError, match=r"line 2: duplicate id '1' \(first on line 1\)"):
        read_pairs(path)


@pytest.mark.medium
def test_a_passage_with_the_answers_value_elsewhere_is_no_negative(ragft: Ragft, tmp_path: Path, tiny: Path) -> None:
    made = Domain(tmp_path / "dates")
    lines = [f"Product {number} ends on {1 + number} May 2031." for number in range(24)]
    for number, line in enumerate(lines):
        made.page(f"p{number}.md", f"# Product {number}\n\n{line}\n")
        # The same day in other words, in a document that no example names.
        made.page(
            f"q{number}.md", f"# News {number}\n\nSupport of product {number} stops, see 2031-05-{1 + number:02}.\n"
        )
    made.lines(
        "examples.jsonl",
        [
            {"question": f"When does product {n} end?", "answer": f"2031-05-{1 + n:02} [1]", "sources": [f"p{n}.md"],
             "group": str(n)}
            for n in range(24)
        ],
    )  # fmt: skip
    configure(made, tiny, epochs=1, negatives=3)
    assert ragft("index", "build", "-c", made.config).status == 0
    ragft("index", "train-encoder", "-c", made.config)
    (rows,) = (made.workspace / "encoders").glob("*/rows.jsonl")
    found = [row for _, row in read_objects(rows, "rows", "")]
    assert len(found) >= 12
    for row in found:
        number = int(row["question"].split()[3])
        assert not [text for text in row["negatives"] if f"product {number} stops" in text]
