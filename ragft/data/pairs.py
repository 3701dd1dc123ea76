"""Pairs of question and passage, which an encoder is trained on."""

from __future__ import annotations

from pathlib import Path

from ragft.data.examples import Example
from ragft.data.jsonl import Ids, read_objects
from ragft.data.sources import sources_in
from ragft.errors import UsageError


def read_pairs(path: Path) -> tuple[tuple[Example, ...], dict[str, str]]:
    """Reads pairs: `{"question", "sources": [...]}`, or `{"question", "passage": "its text"}`; `id` and `group` may
    stand beside them.

    Returns:
        the questions as examples without an answer, and the text of the passage for those that name no source.

    Raises:
        UsageError: the file cannot be read, or a line is no pair; the message names file and line.
    """
    examples: list[Example] = []
    passages: dict[str, str] = {}
    ids = Ids()
    for where, values in read_objects(path, "pairs", "--pairs"):
        question, passage = values.get("question"), values.get("passage")
        if not isinstance(question, str) or not question.strip():
            raise UsageError(f"{where}: field 'question' is missing or no text.")
        sources = sources_in(values, where)
        if not sources and not (isinstance(passage, str) and passage.strip()):
            raise UsageError(f"{where}: write `sources` as a list of texts, or `passage` as a text.")
        identity = ids.claim(str(values.get("id") or "line-" + where.rpartition(" ")[2]), where)
        if not sources:
            passages[identity] = str(passage)
        examples.append(Example(identity, question, "", sources, group=str(values.get("group") or identity)))
    return tuple(examples), passages
