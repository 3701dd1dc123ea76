"""Instructions whose keeping can be verified by rules: those of IFEval (Zhou et al., 2023, arXiv 2311.07911).

Each rule is a function of an answer and of the instruction's own values. Rules that need a library for languages or
sentences are left out, and so are the questions that have one of them: a question counts as kept where all of its
instructions are, and one that cannot be verified would be half of that. `english_capital` and `english_lowercase` look
at the letters alone, not at the language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragft.data.jsonl import Ids, read_objects
from ragft.errors import UsageError

Values = Mapping[str, Any]
Rule = Callable[[str, Values], bool]


@dataclass(frozen=True)
class Instructed:
    """A prompt with the instructions that its answer should keep, by name, each with its own values."""

    id: str
    prompt: str
    instructions: tuple[tuple[str, Values], ...]

    @property
    def verifiable(self) -> bool:
        """Whether there is a rule for each of its instructions."""
        return all(name in RULES for name, _ in self.instructions)


def read_instructions(path: Path, key: str) -> tuple[Instructed, ...]:
    """Reads `{"key", "prompt", "instruction_id_list": [...], "kwargs": [{...}, ...]}`, one a line.

    Args:
        key: the configuration key that names the file.

    Raises:
        UsageError: a line lacks a field, repeats a key, or has another number of values than of instructions.
    """
    found, ids = list[Instructed](), Ids()
    for where, values in read_objects(path, "instructions", key):
        if not isinstance(values.get("prompt"), str) or not isinstance(values.get("key"), str | int):
            raise UsageError(f"{where}: field 'key' or 'prompt' is missing.")
        names, own = values.get("instruction_id_list"), values.get("kwargs")
        if not isinstance(names, list) or not isinstance(own, list) or len(names) != len(own) or not names:
            raise UsageError(f"{where}: `instruction_id_list` and `kwargs` must be lists of one length, not empty.")
        identity = ids.claim(str(values["key"]), where)
        found.append(Instructed(identity, values["prompt"], tuple(zip(map(str, names), own, strict=True))))
    return tuple(found)


def keeps(asked: Instructed, answer: str) -> bool:
    """Whether an answer keeps all instructions (`prompt-level strict`); an empty one keeps none.

    >>> one = Instructed("1", "Name a fruit. No commas.", (("punctuation:no_comma", {}),))
    >>> keeps(one, "A pear."), keeps(one, "A pear, say."), keeps(one, "")
    (True, False, False)
    """
    return bool(answer.strip()) and all(RULES[name](answer, values) for name, values in asked.instructions)


def _compares(count: int, relation: str, limit: int) -> bool:
    return count < limit if relation == "less than" else count >= limit


def _existence(answer: str, values: Values) -> bool:
    return all(re.search(re.escape(word), answer, re.IGNORECASE) for word in values["keywords"])


def _frequency(answer: str, values: Values) -> bool:
    count = len(re.findall(re.escape(values["keyword"]), answer, re.IGNORECASE))
    return _compares(count, values["relation"], values["frequency"])


def _forbidden(answer: str, values: Values) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", answer, re.IGNORECASE) for word in values["forbidden_words"])


def _letters(answer: str, values: Values) -> bool:
    count = answer.lower().count(values["letter"].lower())
    return _compares(count, values["let_relation"], values["let_frequency"])


def _words(answer: str, values: Values) -> bool:
    return _compares(len(re.findall(r"\w+", answer)), values["relation"], values["num_words"])


def _paragraphs(answer: str, values: Values) -> bool:
    """Paragraphs between `***`; only the first and the last piece may be empty."""
    pieces = re.split(r"\s?\*\*\*\s?", answer)
    if any(not piece.strip() for piece in pieces[1:-1]):
        return False
    return sum(bool(piece.strip()) for piece in pieces) == int(values["num_paragraphs"])


def _first_word(answer: str, values: Values) -> bool:
    """The first word of paragraph n, and how many paragraphs there are, divided by empty lines."""
    pieces, nth = answer.split("\n\n"), int(values["nth_paragraph"])
    count = sum(bool(piece.strip()) for piece in pieces)
    if nth > count or not pieces[nth - 1].strip():
        return False
    word = pieces[nth - 1].split()[0].lstrip("'").lstrip('"').lower()
    first = re.split(r"[.,?!'\"]", word)[0]
    return count == int(values["num_paragraphs"]) and first == str(values["first_word"]).lower()


def _placeholders(answer: str, values: Values) -> bool:
    return len(re.findall(r"\[.*?\]", answer)) >= int(values["num_placeholders"])


def _postscript(answer: str, values: Values) -> bool:
    marker = str(values["postscript_marker"]).lower()
    known = {"p.p.s": r"p\.\s?p\.\s?s", "p.s.": r"p\.\s?s\."}
    return bool(re.search(known.get(marker, re.escape(marker)), answer.lower()))


def _bullets(answer: str, values: Values) -> bool:
    count = len(re.findall(r"^\s*\*[^*].*$", answer, re.MULTILINE)) + len(re.findall(r"^\s*-.*$", answer, re.MULTILINE))
    return count == int(values["num_bullets"])


def _constrained(answer: str, values: Values) -> bool:
    return any(f"My answer is {said}." in answer for said in ("yes", "no", "maybe"))


def _highlights(answer: str, values: Values) -> bool:
    """Parts between single asterisks, and those between double ones once more, as in IFEval."""
    found = [*re.findall(r"\*[^\n*]*\*", answer), *re.findall(r"\*\*[^\n*]*\*\*", answer)]
    return sum(bool(part.strip("*").strip()) for part in found) >= int(values["num_highlights"])


def _sections(answer: str, values: Values) -> bool:
    pattern = rf"\s?{re.escape(str(values['section_spliter']))}\s?\d+\s?"
    return len(re.split(pattern, answer)) - 1 >= int(values["num_sections"])


def _json(answer: str, values: Values) -> bool:
    text = re.sub(r"\A```(?:json|Json|JSON)?", "", answer.strip()).removesuffix("```").strip()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _title(answer: str, values: Values) -> bool:
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", answer))


def _two_responses(answer: str, values: Values) -> bool:
    """Two different answers between six asterisks; only the first and the last piece may be empty."""
    pieces = answer.split("******")
    said = [piece.strip() for piece in pieces if piece.strip()]
    return all(piece.strip() for piece in pieces[1:-1]) and len(said) == 2 and said[0] != said[1]


def _repeats(answer: str, values: Values) -> bool:
    return answer.strip().lower().startswith(str(values["prompt_to_repeat"]).strip().lower())


def _ends(answer: str, values: Values) -> bool:
    return answer.strip().strip('"').lower().endswith(str(values["end_phrase"]).strip().lower())


def _quoted(answer: str, values: Values) -> bool:
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _upper(answer: str, values: Values) -> bool:
    return answer.isupper()


def _lower(answer: str, values: Values) -> bool:
    return answer.islower()


def _no_comma(answer: str, values: Values) -> bool:
    return "," not in answer


RULES: dict[str, Rule] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "length_constraints:number_words": _words,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
    "change_case:english_capital": _upper,
    "change_case:english_lowercase": _lower,
    "punctuation:no_comma": _no_comma,
}
"""The rules by the names of their instructions."""


def left_out(asked: Sequence[Instructed]) -> dict[str, int]:
    """How many questions have an instruction without a rule, by its name."""
    counts: dict[str, int] = {}
    for one in asked:
        for name in {name for name, _ in one.instructions if name not in RULES}:
            counts[name] = counts.get(name, 0) + 1
    return counts
