"""The tools that examples are written for: how a row looks there, which files they want, and what they ask of them.

To add one, write the models of its rows in `schemas`, and an entry in `TARGETS`. Knows nothing of configurations; what
of a row a target has no place for is told by reading the written row back, so that nobody has to list it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ragft.data.formats import schemas
from ragft.data.formats.layouts import LAYOUTS, Unheld
from ragft.data.history import spoken
from ragft.messages import Message, turn

TargetName = Literal["openai", "azure", "vertex", "sagemaker", "axolotl", "unsloth", "llama-factory"]
Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = get_args(Part)
_MIB = 1 << 20


@dataclass(frozen=True)
class Shown:
    """A conversation as the model sees it, which ends with the answer.

    Attributes:
        rejected: a worse answer; empty where there is none.
        all_answers: those before the last are trained, too.
    """

    messages: Sequence[Message]
    rejected: str = ""
    all_answers: bool = False

    @property
    def prompt(self) -> Sequence[Message]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"]

    @property
    def system(self) -> str:
        """The system prompt that it begins with."""
        first = self.messages[0]
        return first["content"] if first["role"] == "system" else ""

    @property
    def turns(self) -> Sequence[Message]:
        """What follows the system prompt."""
        return self.messages[1:] if self.system else self.messages


@dataclass(frozen=True)
class Kind:
    """One kind of row of a target.

    Attributes:
        schema: what its maker publishes.
        layout: which reads it back.
        make: the row of a conversation.
    """

    schema: type[BaseModel]
    layout: str
    make: Callable[[Shown], dict[str, Any]]

    def row(self, shown: Shown) -> tuple[dict[str, Any], dict[str, Any]]:
        """The row as the target takes it, and as ragft reads it back.

        Raises:
            Unheld: the target has no such rows.
        """
        values = self.make(shown)
        try:
            self.schema.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise Unheld(f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}") from None
        return values, LAYOUTS[self.layout].row(values)


@dataclass(frozen=True)
class Target:
    """A tool that trains on files.

    Attributes:
        title: for people.
        page: where its maker describes the files.
        chat: rows of conversations.
        pair: rows of two answers; None where the tool, or this version of ragft, has none.
        files: the path of each part below the folder.
        companions: further files by their path, of whether the rows are pairs.
        fewest: rows that training needs.
        most_bytes: of a file; None where no limit is published.
        with_mark: whether files begin with a byte order mark.
        hint: what to set there, so that the same answers are trained as here; empty where nothing is.
    """

    name: TargetName
    title: str
    page: str
    chat: Kind
    pair: Kind | None = None
    files: Mapping[Part, str] = field(
        default_factory=lambda: MappingProxyType({"train": "train.jsonl", "validation": "validation.jsonl"})
    )
    companions: Callable[[bool], Mapping[str, bytes]] = lambda pairs: {}
    fewest: int = 1
    most_bytes: int | None = None
    with_mark: bool = False
    hint: str = ""


def _openai(shown: Shown) -> dict[str, Any]:
    """Answers before the last one count there unless their weight is 0."""
    messages: list[dict[str, Any]] = [dict(one) for one in shown.messages]
    for one in messages[:-1]:
        if one["role"] == "assistant" and not shown.all_answers:
            one["weight"] = 0
    return {"messages": messages}


def _openai_pair(shown: Shown) -> dict[str, Any]:
    return {
        "input": {"messages": list(shown.prompt)},
        "preferred_output": [turn("assistant", shown.answer)],
        "non_preferred_output": [turn("assistant", shown.rejected)],
    }


def _vertex(shown: Shown) -> dict[str, Any]:
    def parts(text: str) -> list[dict[str, str]]:
        return [{"text": text}]

    roles = {"user": "user", "assistant": "model"}
    told = {"systemInstruction": {"role": "system", "parts": parts(shown.system)}} if shown.system else {}
    turns = [{"role": roles.get(one["role"], one["role"]), "parts": parts(one["content"])} for one in shown.turns]
    return {**told, "contents": turns}


def _jumpstart(shown: Shown) -> dict[str, Any]:
    """One text as the prompt: the template fills in texts, and knows no turns."""
    *history, asked = shown.turns[:-1]
    parts = [shown.system, spoken(tuple(history), asked["content"])]
    return {"prompt": "\n\n".join(part for part in parts if part), "completion": shown.answer}


def _jumpstart_template(pairs: bool) -> Mapping[str, bytes]:
    template = {"prompt": "{prompt}", "completion": "{completion}"}
    schemas.JumpStartTemplate.model_validate(template)
    return {"train/template.json": _json(template)}


def _axolotl(shown: Shown) -> dict[str, Any]:
    last = len(shown.messages) - 1
    trained = [
        one["role"] == "assistant" and (shown.all_answers or at == last) for at, one in enumerate(shown.messages)
    ]
    return {"messages": [{**one, "train": train} for one, train in zip(shown.messages, trained, strict=True)]}


def _axolotl_pair(shown: Shown) -> dict[str, Any]:
    answers = {"chosen": turn("assistant", shown.answer), "rejected": turn("assistant", shown.rejected)}
    return {"messages": list(shown.prompt), **answers}


def _axolotl_yaml(pairs: bool) -> Mapping[str, bytes]:
    own: dict[str, Any] = {
        "type": "chat_template", "field_messages": "messages", "message_field_training": "train", "roles_to_train": [],
        "train_on_eos": "turn",
    }  # fmt: skip
    if pairs:
        own = {
            "type": "chat_template.default", "field_messages": "messages", "field_chosen": "chosen",
            "field_rejected": "rejected",
        }  # fmt: skip
    own["message_property_mappings"] = {"role": "role", "content": "content"}
    values: dict[str, Any] = {"rl": "dpo"} if pairs else {}
    for key, name in (("datasets", "train"), ("test_datasets", "validation")):
        values[key] = [{"path": f"{name}.jsonl", "ds_type": "json", "split": "train", **own}]
    head = "# The datasets of an Axolotl configuration; write the path of this folder before the names of the files.\n"
    return {"axolotl.yaml": head.encode() + yaml.safe_dump(values, sort_keys=False).encode()}


def _unsloth(shown: Shown) -> dict[str, Any]:
    return {"conversations": list(shown.messages)}


def _trl_pair(shown: Shown) -> dict[str, Any]:
    answers = {"chosen": [turn("assistant", shown.answer)], "rejected": [turn("assistant", shown.rejected)]}
    return {"prompt": list(shown.prompt), **answers}


_TAGS = {"user": "human", "assistant": "gpt"}


def _tagged(one: Message) -> dict[str, str]:
    return {"from": _TAGS.get(one["role"], one["role"]), "value": one["content"]}


def _llama_factory(shown: Shown) -> dict[str, Any]:
    told = {"system": shown.system} if shown.system else {}
    return {"conversations": [_tagged(one) for one in shown.turns], **told}


def _llama_factory_pair(shown: Shown) -> dict[str, Any]:
    row = _llama_factory(shown)
    worse = _tagged(turn("assistant", shown.rejected))
    return {**row, "conversations": row["conversations"][:-1], "chosen": row["conversations"][-1], "rejected": worse}


def _dataset_info(pairs: bool) -> Mapping[str, bytes]:
    columns = {"messages": "conversations", "system": "system"}
    columns |= {"chosen": "chosen", "rejected": "rejected"} if pairs else {}
    entries: dict[str, Any] = {}
    for part in PARTS:
        entry: dict[str, Any] = {"file_name": f"{part}.jsonl", "formatting": "sharegpt", "columns": columns}
        entries[f"ragft_{part}"] = {**entry, "ranking": True} if pairs else entry
        schemas.LlamaFactoryDataset.model_validate(entries[f"ragft_{part}"])
    return {"dataset_info.json": _json(entries)}


def _json(values: Any) -> bytes:
    return json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n"


_OPENAI = Kind(schemas.OpenAIChat, "openai", _openai)
_OPENAI_PAIR = Kind(schemas.OpenAIPreference, "openai-preference", _openai_pair)

TARGETS: Mapping[TargetName, Target] = {
    target.name: target
    for target in (
        Target(
            "openai", "OpenAI", "https://platform.openai.com/docs/guides/supervised-fine-tuning", _OPENAI, _OPENAI_PAIR,
            fewest=10, most_bytes=512 * _MIB,
        ),
        Target(
            "azure", "Azure AI Foundry", "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning",
            _OPENAI, _OPENAI_PAIR, fewest=10, most_bytes=512 * _MIB, with_mark=True,
        ),
        Target(
            "vertex", "Vertex AI",
            "https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare",
            Kind(schemas.VertexChat, "vertex", _vertex), most_bytes=1024 * _MIB,
        ),
        Target(
            "sagemaker", "SageMaker JumpStart",
            "https://docs.aws.amazon.com/sagemaker/latest/dg/jumpstart-foundation-models-fine-tuning-instruction-based.html",
            Kind(schemas.JumpStartPair, "prompt-completion", _jumpstart),
            # All files of a folder are read there, so that each part needs one of its own.
            files=MappingProxyType({"train": "train/train.jsonl", "validation": "validation/validation.jsonl"}),
            companions=_jumpstart_template,
        ),
        Target(
            "axolotl", "Axolotl", "https://docs.axolotl.ai/docs/dataset-formats/conversation.html",
            Kind(schemas.AxolotlChat, "openai", _axolotl),
            Kind(schemas.AxolotlPreference, "openai", _axolotl_pair), companions=_axolotl_yaml,
        ),
        Target(
            "unsloth", "Unsloth", "https://docs.unsloth.ai/get-started/fine-tuning-llms-guide/datasets-guide",
            Kind(schemas.UnslothChat, "sharegpt", _unsloth), Kind(schemas.TrlPreference, "preference", _trl_pair),
            hint="earlier answers of a conversation are trained there, too, whatever finetune.train_on says",
        ),
        Target(
            "llama-factory", "LLaMA-Factory", "https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md",
            Kind(schemas.LlamaFactoryChat, "sharegpt", _llama_factory),
            Kind(schemas.LlamaFactoryPreference, "sharegpt", _llama_factory_pair), companions=_dataset_info,
            hint="set `mask_history: true` there, so that earlier answers are not trained",
        ),
    )
}  # fmt: skip
"""By their name."""
