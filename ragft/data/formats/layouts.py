"""The shapes that other tools' rows have, and each as a row of ragft.

Knows nothing of files. A row becomes question and answer, the turns before them, and what is right or wrong about it;
whatever else it holds is kept under `imported`. What a row of ragft cannot be is refused by `Unheld`, never dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragft.data.examples import Example, as_line, example_of
from ragft.errors import UsageError
from ragft.messages import Message, Role, turn

IMPORTED = "imported"
"""The field of a row that keeps what its layout has and ragft does not read."""

_ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot"), "assistant"),
}
_TOOL_ROLES = ("tool", "function", "observation", "function_call", "tool_call", "ipython")
_CALLS = ("tool_calls", "function_call")
_CARRIED = ("id", "group", "sources", "tags", "weight", "origin", "reviewed_by")
"""Fields that any layout may have, and that mean to ragft what they say."""


class Unheld(UsageError):
    """A row that no row of ragft can be; the message is the reason, without a place."""


@dataclass(frozen=True)
class Layout:
    """A shape of rows.

    Attributes:
        title: for people.
        shown: how a row looks, for messages.
        fields: that are read.
        fits: whether a row has this shape.
        read: the fields of ragft's row, and what is kept of the turns beside them.
    """

    name: str
    title: str
    shown: str
    fields: Collection[str]
    fits: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], tuple[dict[str, Any], dict[str, Any]]]

    def row(self, values: Mapping[str, Any], where: str = "row 1") -> dict[str, Any]:
        """The row of ragft, which `ragft.data.examples.example_of` reads.

        Args:
            where: the place of the row, as in `FILE, line N`.

        Raises:
            Unheld: no row of ragft can be this.
        """
        if not self.fits(values):
            raise Unheld(f"it is not {self.shown}")
        try:
            row, kept = self.read(values)
        except (TypeError, ValueError, LookupError, AttributeError):  # a field of it is of another type
            raise Unheld(f"it is not {self.shown}") from None
        for name, value in values.items():
            if name not in self.fields and value is not None:
                (row if name in _CARRIED and name not in row else kept)[name] = value
        if kept:
            row[IMPORTED] = kept
        try:
            example_of(row, where)
        except UsageError as error:
            raise Unheld(str(error).removeprefix(f"{where}: ").rstrip(".")) from None
        return row


# --- turns


def _read_turns(turns: Any, what: str) -> tuple[list[Message], list[dict[str, Any]]]:
    """Turns in any of the spellings in use, and the other fields of each.

    Raises:
        Unheld: they are no texts of system, user and assistant.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise Unheld(f"`{what}` is no list of turns")
    read: list[Message] = []
    others: list[dict[str, Any]] = []
    for number, one in enumerate(turns, start=1):
        if not isinstance(one, Mapping):
            raise Unheld(f"turn {number} is no object with role and content")
        named, said = ("from", "value") if "from" in one else ("role", "content")
        name = str(one.get(named)).strip().lower()
        if name in _TOOL_ROLES or any(one.get(call) for call in _CALLS):
            raise Unheld(f"turn {number} calls a tool or is its result, and rows of ragft hold texts alone")
        if name not in _ROLES:
            raise Unheld(f"turn {number} has the role {one.get(named)!r}, which is none of {', '.join(_ROLES)}")
        content = one["parts"] if "parts" in one and "content" not in one else one.get(said)
        read.append(turn(_ROLES[name], _text_of(content, number)))
        used = (named, said, "parts") if said == "content" else (named, said)
        others.append({key: value for key, value in one.items() if key not in used and value is not None})
    return read, others


def _text_of(content: Any, number: int) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and content:
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
        raise Unheld(f"turn {number} holds something else than text, such as an image, and rows of ragft hold texts")
    raise Unheld(f"turn {number} has no text")


def _conversation(turns: Any, what: str, system: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of a conversation whose last answer is trained.

    Weights that say what ragft does anyway (the last answer counts, those before it do not) need no place; a last
    answer of weight 0 becomes an example that does not count.
    """
    read, others = _read_turns(turns, what)
    last = max((place for place, one in enumerate(read) if one["role"] == "assistant"), default=-1)
    if last < 0:
        raise Unheld("no turn is the assistant's")
    if last == 0 or read[last - 1]["role"] != "user":
        raise Unheld(f"turn {last + 1}, the last answer, follows no question of the user")
    kept: dict[str, Any] = {}
    row_weight: dict[str, Any] = {}
    for place, own in enumerate(others[: last + 1]):
        weight = own.get("weight", own.get("train"))
        if weight is not None and weight in (0, 1) and read[place]["role"] == "assistant":
            if place == last and not weight:
                row_weight = {"weight": 0}
            if place == last or not weight:
                own = {key: value for key, value in own.items() if key not in ("weight", "train")}
        elif weight is False:  # turns of others are never trained
            own = {key: value for key, value in own.items() if key != "train"}
        if own:
            kept[f"turn {place + 1}"] = own
    if last + 1 < len(read):
        kept["unanswered"] = [dict(one) for one in turns[last + 1 :]]
    if system is not None and not isinstance(system, str):
        raise Unheld("its system prompt is no text")
    if system and system.strip():
        read, last = [turn("system", system), *read], last + 1
    return {**_asked(read[: last - 1], read[last - 1]["content"], read[last]["content"]), **row_weight}, kept


def _asked(history: Sequence[Message], question: str, answer: str) -> dict[str, Any]:
    return as_line(Example("", question, answer, history=tuple(history)))


def _one_answer(turns: Any, what: str) -> tuple[str, dict[str, Any]]:
    """An answer that is given as a text, a turn, or a list of one turn: its text, and what else its turn holds."""
    if isinstance(turns, str):
        return turns, {}
    read, (*_, others) = _read_turns([turns] if isinstance(turns, Mapping) else turns, what)
    if len(read) != 1 or read[0]["role"] != "assistant":
        raise Unheld(f"`{what}` is not one answer of the assistant")
    return read[0]["content"], {what: others} if others else {}


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unheld(f"`{name}` is no text")
    return value


def _preferred(
    turns: Any, what: str, values: Mapping[str, Any], names: tuple[str, str] = ("chosen", "rejected")
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """The row of a conversation with a better and a worse answer to its last question."""
    (better, of_better), (worse, of_worse) = (_one_answer(values.get(name), name) for name in names)
    answered = [*turns, {"role": "assistant", "content": better}] if isinstance(turns, Sequence) else turns
    row, kept = _conversation(answered, what, values.get("system"))
    return {**row, "rejected": worse}, {**kept, **of_better, **of_worse}


def _with_own_rejected(
    row: dict[str, Any], kept: dict[str, Any], values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """The row with the worse answer that stands beside its turns, if one does."""
    if values.get("rejected") is None:
        return row, kept
    worse, of_worse = _one_answer(values["rejected"], "rejected")
    return {**row, "rejected": worse}, {**kept, **of_worse}


# --- the layouts


def _messages(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if values.get("chosen") is not None:
        return _preferred(values["messages"], "messages", values)
    return _with_own_rejected(*_conversation(values["messages"], "messages", values.get("system")), values)


def _sharegpt(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    name = "conversations" if values.get("conversations") is not None else "conversation"
    if values.get("chosen") is not None:
        return _preferred(values[name], name, values)
    if values.get("kto_tag") is False:
        raise Unheld("`kto_tag` is false: it has a worse answer alone, and rows of ragft have a right one")
    return _with_own_rejected(*_conversation(values[name], name, values.get("system")), values)


def _openai_preference(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    asked = values["input"]
    if not isinstance(asked, Mapping):
        raise Unheld("`input` is no object with `messages`")
    answers = ("preferred_output", "non_preferred_output")
    row, kept = _preferred(asked.get("messages"), "messages", values, answers)
    return row, {**kept, **{key: value for key, value in asked.items() if key != "messages" and value is not None}}


def _preference(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """TRL's, with the prompt beside the answers or as what both conversations begin with."""
    prompt, chosen, rejected = values.get("prompt"), values["chosen"], values["rejected"]
    if prompt is None:
        if not (isinstance(chosen, list) and isinstance(rejected, list) and chosen[:-1] == rejected[:-1]):
            raise Unheld("`chosen` and `rejected` do not begin with the same turns, and there is no `prompt`")
        prompt, chosen, rejected = chosen[:-1], chosen[-1:], rejected[-1:]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    told = {"chosen": chosen, "rejected": rejected, "system": values.get("system")}
    return _preferred(turns, "prompt", told)


def _alpaca(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if values.get("kto_tag") is False:
        raise Unheld("`kto_tag` is false: it has a worse answer alone, and rows of ragft have a right one")
    extra = _text(values, "input")
    question = _text(values, "instruction") + (f"\n\n{extra}" if extra else "")
    history: list[Message] = []
    pairs = values.get("history") or []
    if not isinstance(pairs, list):
        raise Unheld("`history` is no list of pairs of instruction and response")
    for pair in pairs:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Unheld("`history` is no list of pairs of instruction and response")
        history += [turn("user", pair[0]), turn("assistant", pair[1])]
    if system := _text(values, "system"):
        history.insert(0, turn("system", system))
    chosen, output = values.get("chosen"), _text(values, "output")
    answer, kept = (output, {}) if chosen is None else _one_answer(chosen, "chosen")
    if output not in ("", answer):
        kept["output"] = output
    return _with_own_rejected(_asked(history, question, answer), kept, values)


def _prompted(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    prompt, (answer, of_answer) = values["prompt"], _one_answer(values["completion"], "completion")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(turns, list):
        raise Unheld("`prompt` is neither a text nor a list of turns")
    row, kept = _conversation([*turns, {"role": "assistant", "content": answer}], "prompt")
    return row, {**kept, **of_answer}


def _vertex(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    told = values.get("systemInstruction")
    system = _text_of(told.get("parts"), 0) if isinstance(told, Mapping) else told
    return _conversation(values["contents"], "contents", system)


def _own(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {name: value for name, value in values.items() if name in _OWN and value is not None}, {}


_OWN = ("question", "answer", "system", "history", "rejected", *_CARRIED)


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda values: all(values.get(name) is not None for name in names)


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "sharegpt", "ShareGPT", '{"conversations": [{"from": "human", "value": "..."}, ...]}',
            ("conversations", "conversation", "system", "chosen", "rejected"),
            lambda values: _has("conversations")(values) or isinstance(values.get("conversation"), list), _sharegpt,
        ),
        Layout(
            "alpaca", "Alpaca", '{"instruction": "...", "input": "...", "output": "..."}',
            ("instruction", "input", "output", "system", "history", "chosen", "rejected"),
            lambda values: _has("instruction")(values) and (_has("output")(values) or _has("chosen")(values)), _alpaca,
        ),
        Layout(
            "openai", "OpenAI chat", '{"messages": [{"role": "user", "content": "..."}, ...]}',
            ("messages", "system", "chosen", "rejected"), _has("messages"), _messages,
        ),
        Layout(
            "openai-preference", "OpenAI preference",
            '{"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}',
            ("input", "preferred_output", "non_preferred_output"),
            _has("input", "preferred_output", "non_preferred_output"), _openai_preference,
        ),
        Layout(
            "preference", "TRL preference", '{"prompt": ..., "chosen": ..., "rejected": ...}',
            ("prompt", "chosen", "rejected", "system"),
            lambda values: _has("chosen", "rejected")(values)
            and not any(_has(name)(values) for name in ("instruction", "messages", "conversations")),
            _preference,
        ),
        Layout(
            "prompt-completion", "Prompt and completion", '{"prompt": "...", "completion": "..."}',
            ("prompt", "completion"), _has("prompt", "completion"), _prompted,
        ),
        Layout(
            "vertex", "Vertex AI", '{"contents": [{"role": "user", "parts": [{"text": "..."}]}, ...]}',
            ("contents", "systemInstruction"), _has("contents"), _vertex,
        ),
        Layout("ragft", "ragft", '{"question": "...", "answer": "..."}', _OWN, _has("question", "answer"), _own),
    )
}  # fmt: skip


def layout_of(sample: Iterable[Mapping[str, Any]], path: str) -> Layout:
    """The one layout that rows of a file have.

    Args:
        sample: the first rows.
        path: of the file, for messages.

    Raises:
        UsageError: no layout fits any of them, or several do.
    """
    rows = list(sample)
    fitting = Counter(layout.name for values in rows for layout in LAYOUTS.values() if layout.fits(values))
    if len(fitting) == 1:
        return LAYOUTS[next(iter(fitting))]
    if fitting:
        candidates = ", ".join(f"{name} ({count} of {len(rows)} rows)" for name, count in fitting.most_common())
        raise UsageError(f"{path} may be of several formats: {candidates}: name one with --format.")
    fields = ", ".join(sorted(dict.fromkeys(str(name) for values in rows for name in values))[:12])
    known = "; ".join(f"{layout.name}: {layout.shown}" for layout in LAYOUTS.values())
    raise UsageError(
        f"{path} has rows with the fields {fields or '(none)'}, which are of no known format: name the columns with "
        f"--map question=COLUMN,answer=COLUMN, or write one of these. {known}."
    )
