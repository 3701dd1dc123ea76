"""Whether condensing finds what a follow-up is about and leaves questions about something else alone, on real text.

    python benchmarks/condensing.py --data FOLDER

FOLDER holds clapnq/ (ClapNQ: `input`, and `passages` of `title` and `text`) and scifact/ (BEIR). Questions come as
their authors wrote them, those of ClapNQ without capital letters. Each is asked behind another one drawn by a seed: the
topic changes, and nothing should be added. Behind each question a follow-up is asked that has no word of its own: its
passage should be found as by the question itself. Passages are ranked by BM25 alone, so that no encoder is needed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from index.store.lexical import Bm25, Postings
from ragft.conversation import standalone
from ragft.messages import turn

BARE = "and why is that?"
TOP_K = 4

Asked = list[tuple[str, set[int]]]
"""Questions with the numbers of the passages that answer them."""


def lines(path: Path) -> Iterator[Any]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def clapnq(folder: Path) -> tuple[list[str], Asked]:
    rows = [*lines(folder / "answerable.jsonl"), *lines(folder / "unanswerable.jsonl")]
    answerable = sum(1 for _ in lines(folder / "answerable.jsonl"))
    passages = [f"{row['passages'][0]['title']}\n{row['passages'][0]['text']}" for row in rows]
    return passages, [(row["input"], {number}) for number, row in enumerate(rows[:answerable])]


def scifact(folder: Path) -> tuple[list[str], Asked]:
    documents = list(lines(folder / "corpus.jsonl"))
    place = {document["_id"]: number for number, document in enumerate(documents)}
    text = {query["_id"]: query["text"] for query in lines(folder / "queries.jsonl")}
    gold: dict[str, set[int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, _ = line.split("\t")
        gold.setdefault(query, set()).add(place[document])
    return [f"{one['title']}\n{one['text']}" for one in documents], [(text[name], of) for name, of in gold.items()]


def measured(name: str, passages: Sequence[str], asked: Asked, seed: int) -> str:
    bm25 = Bm25([(Postings.build(passages), np.ones(len(passages), dtype=np.bool_))])
    draw = random.Random(seed)

    def found(query: str, gold: set[int]) -> bool:
        return not gold.isdisjoint(np.argsort(-bm25.scores(query), kind="stable")[:TOP_K].tolist())

    def behind(earlier: str, question: str) -> str:
        return standalone(question, [turn("user", earlier), turn("assistant", "It is so.")], bm25.words)

    alone = [found(question, gold) for question, gold in asked]
    changes = [behind(draw.choice([one for one, _ in asked if one != question]), question) for question, _ in asked]
    after = [found(query, gold) for query, (_, gold) in zip(changes, asked, strict=True)]
    added = sum(query != question for query, (question, _) in zip(changes, asked, strict=True))
    lost = sum(before and not now for before, now in zip(alone, after, strict=True))
    bare = sum(found(BARE, gold) for _, gold in asked)
    condensed = sum(found(behind(question, BARE), gold) for question, gold in asked)
    return (
        f"{name}: {len(asked)} questions, {sum(alone)} found alone; behind another topic {sum(after)} ({added} with "
        f"words added, {lost} lost); bare follow-ups {bare} found as they stand, {condensed} condensed"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, read in (("clapnq", clapnq), ("scifact", scifact)):
        print(measured(name, *read(arguments.data / name), arguments.seed))


if __name__ == "__main__":
    main()
