"""What is changed about a question, what never is, and which wordings do not count."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from ragft.data import noise
from ragft.data.augment.model import read_wording, request
from ragft.data.augment.synonyms import synonyms_of
from ragft.data.augment.wording import KINDS, MODEL_KINDS, Kind, augmented, fault, fixed_texts, plans, reworded
from ragft.data.examples import Example
from ragft.errors import UsageError

ASKED = "What is the longest period for which `max_len` of Django 4.2 is supported in the cloud under plan pro-3?"
EXAMPLE = Example("a", ASKED, "Support: supported until 2026-04 [1]", group="g")
NOISE = [kind for kind in KINDS if kind not in (*MODEL_KINDS, "synonyms")]
FIXED = ("`max_len`", "Django", "4.2", "pro-3", "supported")
LEXICON = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.1.dtd">
<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">
  <Lexicon id="tiny" label="Tiny" language="en" email="a@example.org" license="CC0" version="1">
    <LexicalEntry id="e1"><Lemma writtenForm="period" partOfSpeech="n"/><Sense id="s1" synset="tiny-1"/></LexicalEntry>
    <LexicalEntry id="e2"><Lemma writtenForm="timespan" partOfSpeech="n"/>
      <Sense id="s2" synset="tiny-1"/></LexicalEntry>
    <LexicalEntry id="e3"><Lemma writtenForm="time span" partOfSpeech="n"/>
      <Sense id="s3" synset="tiny-1"/></LexicalEntry>
    <LexicalEntry id="e4"><Lemma writtenForm="cloud" partOfSpeech="n"/><Sense id="s4" synset="tiny-2"/></LexicalEntry>
    <LexicalEntry id="e5"><Lemma writtenForm="swarm" partOfSpeech="n"/><Sense id="s5" synset="tiny-2"/></LexicalEntry>
    <LexicalEntry id="e6"><Lemma writtenForm="cloud" partOfSpeech="v"/><Sense id="s6" synset="tiny-3"/></LexicalEntry>
    <Synset id="tiny-1" ili="" partOfSpeech="n"/><Synset id="tiny-2" ili="" partOfSpeech="n"/>
    <Synset id="tiny-3" ili="" partOfSpeech="v"/>
  </Lexicon>
</LexicalResource>
"""


@pytest.mark.parametrize("kind", NOISE)
def test_noise_changes_common_words_and_nothing_that_the_answer_hangs_on(kind: Kind) -> None:
    texts = {text for seed in range(60) if (text := reworded(EXAMPLE, kind, seed)) is not None}
    assert len(texts) >= (2 if kind == "case" else 5), texts
    for text in texts:
        assert text != ASKED
        assert all(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) for part in FIXED), text
        assert fault(EXAMPLE, text, kind) == "", text


def test_noise_of_one_seed_is_the_same_and_of_another_kind_or_row_another() -> None:
    assert reworded(EXAMPLE, "typos", 1) == reworded(EXAMPLE, "typos", 1)
    other = Example("b", ASKED, EXAMPLE.answer)
    assert len({reworded(one, "typos", seed) for one in (EXAMPLE, other) for seed in range(5)}) > 5


def test_a_question_of_names_and_figures_is_left_alone() -> None:
    for text in ("Is Django 4.2 MIT?", "SQL?", "`select every row`"):
        assert [reworded(Example("a", text, "x"), kind, 0) for kind in NOISE if kind != "insertion"] == [None] * 4


def test_words_that_a_statement_turns_on_are_neither_left_out_nor_put_in() -> None:
    text = "which parts are not covered by the plan from the first or the last day"
    words = noise.free_words(text, (), shortest=2)
    for seed in range(80):
        draw = random.Random(seed)
        without, more = noise.without_a_word(text, words, draw), noise.with_a_word(text, words, draw)
        assert without and len(without.split()) == len(text.split()) - 1
        assert {"not", "from", "or", "by"} <= set(without.split())
        assert more and not set(more.split()) - set(text.split()) & {"not", "from", "or", "by", "and", "to"}


def test_wrong_keys_are_neighbours() -> None:
    words = noise.free_words("covered", ())
    for seed in range(30):
        typed = noise.with_wrong_keys("covered", words, random.Random(seed)) or ""
        (pair,) = [(a, b) for a, b in zip("covered", typed, strict=True) if a != b]
        assert pair[1] in {"o": "ipkl", "v": "cbfg", "e": "wrsd", "r": "etdf", "d": "erfscx"}[pair[0]]


def test_synonyms_are_of_one_sense_and_one_part_of_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wn

    monkeypatch.setattr(wn.config, "_data_directory", tmp_path, raising=False)
    wn.config.data_directory = tmp_path
    (tmp_path / "tiny.xml").write_text(LEXICON)
    wn.add(tmp_path / "tiny.xml", progress_handler=None)
    synonyms = synonyms_of("tiny:1")
    assert list(synonyms("period")) == ["timespan"]
    assert [list(synonyms(word)) for word in ("cloud", "periods", "unknown")] == [[], [], []]
    text = reworded(EXAMPLE, "synonyms", 0, synonyms)
    assert text == ASKED.replace("period", "timespan") and fault(EXAMPLE, text, "synonyms") == ""
    with pytest.raises(UsageError, match="python -m wn download oewn:1999"):
        synonyms_of("oewn:1999")


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("How long is Django 4.2 supported with `max_len` in plan pro-3 hosted elsewhere?", "paraphrase", ""),
        ("How long is Django 4 supported with `max_len` in plan pro-3?", "paraphrase", "lacks '4.2'"),
        ("How long is django 4.2 supported with `max_len` in plan pro-3?", "paraphrase", "lacks 'Django'"),
        ("How long is Django 4.2 kept with `max_len` in plan pro-3?", "paraphrase", "lacks 'supported'"),
        (f"{ASKED} In 2026?", "paraphrase", "the figure '2026'"),
        (f"{ASKED[:-1]} until when?", "paraphrase", "answer's word 'until' away"),
        ("", "paraphrase", "empty"),
        (f"Sure!\n{ASKED}", "paraphrase", "several lines"),
        (ASKED.upper(), "paraphrase", "the same"),
        (f"{ASKED} " * 4, "paraphrase", "much longer"),
        (ASKED.replace("longest period", "maximal time"), "contextual", ""),
        ("Say how much time Django 4.2 stays supported given `max_len` plus pro-3?", "contextual", "more than a third"),
    ],
)  # fmt: skip
def test_wordings_of_a_model_count_only_where_they_ask_the_same(text: str, kind: Kind, reason: str) -> None:
    told = fault(EXAMPLE, text, kind)
    assert reason in told if reason else told == ""


def test_a_model_is_told_what_to_keep_and_its_reply_is_read_plainly() -> None:
    assert set(fixed_texts(EXAMPLE)) == set(FIXED)
    asked = request(EXAMPLE, "back_translation", "French")[-1]["content"]
    assert "into French" in asked and "Keep as they are: " in asked and asked.endswith(ASKED)
    for reply in ('"Why so?"', "Question: Why so?", " Why so?\n", "„Why so?“"):
        assert read_wording(reply) == "Why so?"
    assert read_wording('"A" or "B"?') == '"A" or "B"?'


def test_shares_are_exact_and_rows_say_where_they_come_from() -> None:
    made = [Example(str(number), "q", "a") for number in range(40)]
    found = plans(made, {**dict.fromkeys(KINDS, 0.0), "typos": 0.25, "paraphrase": 1.0}, 3)
    assert [(plan.kind, plan.wanted, len(plan.order)) for plan in found] == [("typos", 10, 40), ("paraphrase", 40, 40)]
    assert found[0].order != found[1].order and set(found[0].order) == set(made)
    row = augmented(EXAMPLE, "Other?", "typos", "a~typos")
    assert (row.group, row.answer, row.origin) == ("g", EXAMPLE.answer, "augment typos of a")
