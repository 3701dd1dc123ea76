"""A tokenizer's chat template, probed instead of trusted: one `Template` renders for training, evaluation and serving.

A template may refuse a system turn, refuse two turns of one role, write the date, or write other things around an
answer than a served model is given. What can be done right is done in the same way everywhere, by `arranged` and
`arguments`, which engines pass on to whatever renders for them; what cannot is refused before anything is trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Literal, TypeVar

from ragft.errors import RagftError
from ragft.messages import Borders, Message, Rendered, Role, turn
from ragft.template_texts import TemplateTexts

TrainOn = Literal["last", "all"]
"""Which answers of a conversation are trained on."""

PINNED_DATE = date(2024, 7, 26)
"""The day that templates are told it is. Llama 3's own templates write this one where there is no clock."""

_SYSTEM, _QUESTION, _ANSWER = "Sysword", "Askword", "Replyword"
# Probes need words that a template cannot contain and that no tokenizer joins with what is around them.


_REWRITTEN = (
    "This tokenizer's chat template renders the prompt differently once an answer follows, so a model trained with it "
    "would be served other tokens than it learnt."
)


T = TypeVar("T")


class Unrenderable(RagftError):
    """The template cannot render this conversation, or not so that it could be learnt; others may be fine."""


@dataclass(frozen=True)
class TemplateOptions:
    """What a chat template is told besides the conversation.

    Attributes:
        arguments: further variables of the template, such as `enable_thinking`.
        date: the day that it is told it is, wherever it asks for the time.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    date: date = PINNED_DATE


class Template:
    """A tokenizer's chat template and what it is always told. Not for several threads at once, as tokenizers are not.

    Attributes:
        arguments: what is passed to the template besides the conversation, by whoever renders it.
    """

    def __init__(self, tokenizer: Any, options: TemplateOptions = TemplateOptions()) -> None:
        """
        Raises:
            RagftError: the tokenizer has no template for plain conversations, or it does not read an argument.
        """
        self.tokenizer = tokenizer
        self._options = options
        self._texts = TemplateTexts.of(tokenizer)
        self._date = options.date if self._texts.read("strftime_now") else None
        for name in options.arguments:
            if not self._texts.read(name):
                known = sorted(self._texts.variables())
                raise RagftError(
                    f"The chat template does not read {name!r}, which prompt.template_arguments sets; it reads "
                    f"{', '.join(known) if known else 'no arguments'}."
                )
        self.arguments = dict(options.arguments)
        if self._date is not None:
            self.arguments["strftime_now"] = self._date.strftime

    def prompt(self, messages: Sequence[Message], tools: Any = None) -> list[int]:
        """Token ids of a conversation that the model is to continue with the assistant's turn.

        Args:
            tools: what the model may call, as in OpenAI's requests; None: nothing.

        Raises:
            Unrenderable: the template refuses the conversation.
        """
        return self._ids(self._text(self.arranged(messages), tools=tools))

    def training(self, messages: Sequence[Message], train_on: TrainOn = "last") -> Rendered:
        """Token ids of a whole conversation and the mask of its last assistant turn, with the token that ends it.

        With `train_on="all"`, earlier assistant turns are trained on, too, each behind the prompt that it answers.

        What stands behind the end token (a newline in ChatML) is never generated, so it is not kept.

        Raises:
            Unrenderable: this conversation cannot be learnt.
            RagftError: none can, see `check_trainable`.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise Unrenderable("A training conversation must end with the assistant's turn.")
        self.check_trainable()
        *asked, answer = messages
        before = self.arranged(asked)
        written = self._text([*before, answer], answered=True)
        opened = self._text(before)
        if not written.startswith(opened):
            raise Unrenderable(_REWRITTEN)
        rest = written[len(opened) :]
        if not rest.lstrip().startswith(answer["content"].strip()):
            raise Unrenderable("The chat template does not write the answer as it stands.")
        prompt, whole = self._ids(opened), self._ids(written)
        if whole[: len(prompt)] != prompt:
            # The answer's first characters were joined with the prompt's last, which a served model cannot do.
            whole = [*prompt, *self._ids(rest)]
            if self._read(whole) != self._read(self._ids(written)):
                raise Unrenderable(
                    f"The tokenizer cannot write the beginning of the answer ({answer['content'][:20]!r}) behind a "
                    "prompt: begin it with a word."
                )
        self._check_control(whole[len(prompt) :])
        end = whole.index(self._tail[0], len(prompt))
        answers = [(len(prompt), end)]
        if train_on == "all":
            answers += [
                self._answer_at(before[:number], said["content"], whole)
                for number, said in enumerate(before)
                if number > 0 and said["role"] == "assistant"
            ]
        trained = [any(first <= position <= last for first, last in answers) for position in range(end + 1)]
        return Rendered(tuple(whole[: end + 1]), tuple(trained))

    def _answer_at(self, asked: Sequence[Message], answer: str, whole: Sequence[int]) -> tuple[int, int]:
        """First and last position of an earlier answer within a conversation's ids, the token that ends it included."""
        prompt = self._ids(self._text(asked))
        begin, tail = len(prompt), self._tail[0]
        if list(whole[:begin]) == prompt and tail in whole[begin:]:
            end = whole.index(tail, begin)
            written = whole[begin:end]
            if self._read(written).strip() == answer.strip() and not any(token in self._control for token in written):
                return begin, end
        raise Unrenderable(
            f"An earlier answer ({answer[:20]!r}) has other tokens in front of it, or in it, than the model would be "
            "asked with and answer, so it cannot be trained on: set finetune.train_on to last."
        )

    def learnable(
        self, rows: Iterable[tuple[str, T]], render: Callable[[T], Rendered]
    ) -> tuple[list[Rendered], list[str]]:
        """Renders what can be learnt of many conversations.

        Args:
            rows: each with what it is called where it cannot.
            render: makes token ids of one of them, by `training`.

        Returns:
            The rendered conversations, and a sentence on each of the others.

        Raises:
            RagftError: see `check_trainable`.
        """
        self.check_trainable()
        rendered, faults = [], []
        for name, row in rows:
            try:
                rendered.append(render(row))
            except Unrenderable as error:
                faults.append(f"{name}: {error}")
        return rendered, faults

    def arranged(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation as this template takes it, for whoever renders it.

        Control tokens that a text quotes are parted by a space. Where the template refuses a system turn, or leaves it
        out, its text begins the next user turn; turns of one role that it does not take beside each other are joined.
        """
        turns: list[Message] = []
        for message in messages:
            parted: Message = {**message, "content": self._borders.part(message["content"])}
            if self.folds and parted["role"] == "system":
                parted = turn("user", parted["content"])
                if not parted["content"].strip():
                    continue
            last = turns[-1] if turns else None
            if last is not None and parted["role"] == last["role"] in self._joined and _plain(parted) and _plain(last):
                turns[-1] = turn(last["role"], "\n\n".join(filter(None, (last["content"], parted["content"]))))
            else:
                turns.append(parted)
        return turns

    def check_trainable(self) -> None:
        """Refuses, once, a template that nothing can be trained with.

        Raises:
            RagftError: with what is wrong and, where one is found, with the argument that would make it right.
        """
        if fault := self._fault:
            raise RagftError(f"{fault}{self._remedy}")

    @cached_property
    def end(self) -> int | None:
        """Id of the token that ends an answer: the first control token that the template writes behind one; None where
        it writes none.
        """
        return self._tail[0] if self._tail else None

    @property
    def stop(self) -> int | None:
        """`end`, where it is not the tokenizer's end of text either, so that engines must be told of it; else None."""
        return None if self.end is None or self.end == self.tokenizer.eos_token_id else self.end

    @property
    def hash(self) -> str:
        """16 hex digits over all that decides how conversations are rendered, but for the tokenizer."""
        told = {
            "arguments": dict(self._options.arguments),
            "date": self._date.isoformat() if self._date else None,
            "folds": self.folds,
            "joined": sorted(self._joined),
        }
        # A template that nothing is added to has the hash of its text, as before there was anything to add.
        texts = dict(self._texts.by_name)
        plain = len(texts) == 1 and not any(told.values())
        content = texts["default"] if plain else json.dumps([texts, told], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def described(self) -> str:
        """A sentence on what is done for this template, for people."""
        done = [f"answers end with {self.tokenizer.convert_ids_to_tokens(self.end)!r}"] if self.end is not None else []
        if self.folds:
            done.append("it takes no system turn, so the system prompt begins the first question")
        if self._joined - {"system"}:
            done.append(f"turns of one role are joined ({', '.join(sorted(self._joined - {'system'}))})")
        if self._date is not None:
            done.append(f"it writes a date, which is {self._date.isoformat()} everywhere (prompt.date)")
        return "; ".join(done)

    @cached_property
    def folds(self) -> bool:
        """Whether the template refuses a system turn before the user's, or leaves its text out."""
        return not self._writes(turn("system", _SYSTEM), turn("user", _QUESTION))

    @cached_property
    def _joined(self) -> frozenset[Role]:
        """Roles of which the template does not take two turns beside each other."""
        ask = turn("user", _QUESTION)
        doubled: dict[Role, list[Message]] = {
            "user": [ask, turn("user", _SYSTEM)],
            "assistant": [ask, turn("assistant", _ANSWER), turn("assistant", _SYSTEM), ask],
        }
        if not self.folds:
            doubled["system"] = [turn("system", _SYSTEM), turn("system", _ANSWER), ask]
        refused = {role for role, turns in doubled.items() if not self._writes(*turns)}
        return frozenset(refused | ({"user"} if self.folds else set()))

    @cached_property
    def _control(self) -> dict[int, str]:
        """Tokens that texts must not contain: special ones, and whatever tokens of its own the template writes."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        written: set[int] = set()
        for turns, answered in ((self._probe[:-1], False), (self._probe, True)):
            if (text := self._tried(turns, answered=answered)) is not None:
                written.update(self._ids(text))
        return {int(id_): token.content for id_, token in added.items() if token.special or id_ in written}

    @cached_property
    def _borders(self) -> Borders:
        return Borders(self._control.values())

    @cached_property
    def _tail(self) -> list[int]:
        """Control tokens behind the answer of the probe."""
        written = self._tried(self._probe, answered=True) or ""
        _, found, tail = written.rpartition(_ANSWER)
        return [token for token in self._ids(tail) if token in self._control] if found else []

    @property
    def _probe(self) -> list[Message]:
        asked: list[Message] = [turn("system", _SYSTEM), turn("user", _QUESTION)]
        # Not `arranged`, which parts what is not there and needs what is found out here.
        if self.folds:
            asked = [turn("user", f"{_SYSTEM}\n\n{_QUESTION}")]
        return [*asked, turn("assistant", _ANSWER)]

    @cached_property
    def _fault(self) -> str | None:
        """Why nothing can be trained with this template; None where nothing was found."""
        try:
            return self._fault_with({})
        except Unrenderable as error:
            return str(error)

    def _fault_with(self, more: Mapping[str, Any]) -> str | None:
        *asked, _ = probe = self._probe
        opened, written = self._text(asked, **more), self._text(probe, answered=True, **more)
        if _ANSWER not in written:
            return "The chat template does not write the assistant's answers."
        if not written.startswith(opened):
            return _REWRITTEN
        gap, _, tail = written[len(opened) :].partition(_ANSWER)
        if gap.strip() and opened == self._text(asked, answered=True, **more):
            return (
                "The chat template has no generation prompt, so a model would be asked without the beginning of its "
                f"turn; add {{% if add_generation_prompt %}}{{{{ {json.dumps(gap)} }}}}{{% endif %}} to the end of "
                "the model's chat_template.jinja."
            )
        if gap.strip():
            return (
                f"The chat template writes {gap.strip()!r} between the prompt and the answer, which a served model is "
                "not given, so it would learn to write that itself."
            )
        if not self._tail:
            return (
                f"The chat template ends an answer with {tail!r}, in which there is no control token of this "
                "tokenizer, so a trained model would never stop; use the template and tokenizer of one model."
            )
        begin = getattr(self.tokenizer, "bos_token_id", None)
        if begin is not None and self._ids(opened)[:2] == [begin, begin]:
            return (
                f"A prompt begins with {self.tokenizer.bos_token!r} twice; remove one from the model's "
                "chat_template.jinja."
            )
        return None

    @cached_property
    def _remedy(self) -> str:
        """The argument that takes the fault away, as the end of a sentence; empty where none is found."""
        for name in sorted(self._texts.variables() - set(self._options.arguments)):
            for value in (False, True):
                try:
                    fault = self._fault_with({name: value})
                except Unrenderable:
                    continue
                if fault is None:
                    return f" Set prompt.template_arguments: {{{name}: {str(value).lower()}}}, which is right here."
        return ""

    def _check_control(self, rest: Sequence[int]) -> None:
        """Refuses a row whose answer quotes a control token, which would be read as one."""
        found = [token for token in rest if token in self._control]
        if found == self._tail:
            return
        if len(found) <= len(self._tail):
            raise Unrenderable("The chat template does not end this answer as it ends others.")
        quoted = self._control[next((token for token in found if token not in self._tail), found[0])]
        raise Unrenderable(
            f"The answer quotes {quoted!r}, which this model reads as a control token: write it in another way."
        )

    def _text(self, messages: Sequence[Message], *, answered: bool = False, tools: Any = None, **more: Any) -> str:
        """The rendered text: of a whole conversation where it is `answered`, else up to where the answer begins."""
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), tools=tools, add_generation_prompt=not answered, tokenize=False,
                    **{**self.arguments, **more},
                )
            )  # fmt: skip
        except Exception as error:  # whatever the template's own code raises
            raise Unrenderable(f"The chat template refuses the conversation: {error}") from error

    def _ids(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _read(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _tried(self, messages: Sequence[Message], *, answered: bool = False) -> str | None:
        try:
            return self._text(messages, answered=answered)
        except Unrenderable:
            return None

    def _writes(self, *messages: Message) -> bool:
        """Whether the template takes these turns and writes the texts of all of them."""
        text = self._tried(messages)
        return text is not None and all(message["content"] in text for message in messages)


def _plain(message: Message) -> bool:
    """Whether a turn is nothing but its text."""
    return message.keys() == {"role", "content"}
