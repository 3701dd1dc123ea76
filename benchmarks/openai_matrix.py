"""The official client's calls, to ragft and to vLLM's own server: does the same JSON come back?

Both serve the same model with the same flags, one process each: `ragft serve` with `prompt-only`, and
`python -m vllm.entrypoints.openai.api_server`, which gets the conversation as ragft renders it. Each call is made with
the `openai` package. What is compared is all that came, without ids, times, the name of the model and our field
`ragft`; numbers may differ by 1e-3, because a batch of another shape rounds differently. A stream is put together
first, since its pieces are a matter of timing; the shapes of its chunks are compared, too. Of an error, status and
class are compared: the sentences are ours.

    python benchmarks/openai_matrix.py [--model NAME] [--only TEXT] [--client langchain] [--json FILE]

`--client langchain` runs LangChain's ChatOpenAI, `--client llamaindex` LlamaIndex's OpenAILike against `ragft serve`,
each unchanged (`pip install --target TOOLS langchain-openai llama-index-llms-openai-like`, and TOOLS behind the
environment's own packages: `--tools TOOLS`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import yaml
from serving_ttft import SETTINGS, SYSTEM, free_port, process, raw_command

from ragft.models import resolve_model
from ragft.prompts import user_turn

QUESTION = "What does a ticket to Paris cost?"
UNCOMPARED = frozenset(
    {"id", "created", "created_at", "completed_at", "model", "item_id", "ragft", "system_fingerprint"}
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "The price of a ticket.",
        "parameters": {"type": "object", "properties": {"to": {"enum": ["Paris", "Rome"]}}, "required": ["to"]},
    },
}
SCHEMA = {"type": "object", "properties": {"euros": {"type": "integer", "maximum": 99}}, "required": ["euros"]}


@dataclass(frozen=True)
class Call:
    """One call of the client.

    Attributes:
        api: method of the client, as in `chat.completions.create`.
        fields: its arguments, without model and conversation.
        expected: why the two differ on purpose; empty: they must not.
    """

    name: str
    api: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    expected: str = ""


def chat(name: str, expected: str = "", **fields: Any) -> Call:
    return Call(f"chat: {name}", "chat.completions.create", {"temperature": 0, "max_tokens": 12, **fields}, expected)


def text(name: str, expected: str = "", **fields: Any) -> Call:
    given = {"temperature": 0, "max_tokens": 12, "prompt": "A ticket to Paris costs", **fields}
    return Call(f"completions: {name}", "completions.create", given, expected)


def response(name: str, expected: str = "", **fields: Any) -> Call:
    given = {"temperature": 0, "max_output_tokens": 12, "store": False, **fields}
    return Call(f"responses: {name}", "responses.create", given, expected)


def extra(**fields: Any) -> dict[str, Any]:
    """vLLM's own fields."""
    return {"extra_body": fields}


INCLUDED = {"include_usage": True}
USAGE = {"stream": True, "stream_options": INCLUDED}
FORMAT = {"type": "json_schema", "json_schema": {"name": "price", "schema": SCHEMA}}
NAMED = {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "price"}}, "max_tokens": 40}
STRICT = "refused here, because a served prompt is rendered as the evaluated ones were"
NO_LIMIT = "bounded here"
WINDOW = "here the window is the limit; vLLM refuses what is longer"
OURS = "names the fields of OpenAI that vLLM leaves out, and none of vLLM's own"
CALLS = [
    chat("plain"),
    chat("max_completion_tokens", max_tokens=None, max_completion_tokens=7),
    chat("temperature and seed", temperature=1.2, seed=7),
    chat("top_p", temperature=1.0, seed=7, top_p=0.5),
    chat("frequency_penalty", frequency_penalty=1.5, max_tokens=30),
    chat("presence_penalty", presence_penalty=1.5, max_tokens=30),
    chat("repetition_penalty", max_tokens=30, **extra(repetition_penalty=1.3)),
    chat("top_k", temperature=1.0, seed=7, **extra(top_k=3)),
    chat("min_p", temperature=1.0, seed=7, **extra(min_p=0.2)),
    chat("n", n=3, temperature=1.0, seed=7),
    chat("stop", stop="the", max_tokens=40),
    chat("stops", stop=["the", "."], max_tokens=40),
    chat("include_stop_str_in_output", stop=["."], max_tokens=40, **extra(include_stop_str_in_output=True)),
    chat("stop_token_ids", max_tokens=40, **extra(stop_token_ids=[30])),
    chat("logprobs", logprobs=True),
    chat("top_logprobs", logprobs=True, top_logprobs=5),
    chat("logit_bias", logit_bias={"260": -100}, max_tokens=30),
    chat("min_tokens", stop=["."], max_tokens=30, **extra(min_tokens=20)),
    chat("ignore_eos", max_tokens=60, **extra(ignore_eos=True)),
    chat("bad_words", max_tokens=30, **extra(bad_words=["the", "ticket"])),
    chat("allowed_token_ids", **extra(allowed_token_ids=[260, 30, 28])),
    chat("skip_special_tokens", max_tokens=60, **extra(skip_special_tokens=False)),
    chat("return_token_ids", **extra(return_token_ids=True)),
    chat("return_tokens_as_token_ids", logprobs=True, **extra(return_tokens_as_token_ids=True)),
    chat("logprob_token_ids", logprobs=True, **extra(logprob_token_ids=[260, 30])),
    chat("repetition_detection", max_tokens=60, **extra(repetition_detection={"max_pattern_size": 3, "min_count": 3})),
    chat("json_object", response_format={"type": "json_object"}, max_tokens=30),
    chat("json_schema", response_format=FORMAT),
    chat("structured: json", **extra(structured_outputs={"json": SCHEMA})),
    chat("structured: regex", **extra(structured_outputs={"regex": "[0-9]{2} euros"})),
    chat("structured: choice", **extra(structured_outputs={"choice": ["cheap", "dear"]})),
    chat("structured: grammar", **extra(structured_outputs={"grammar": 'root ::= "12" | "13"'})),
    chat("tools, none to be called", tools=[WEATHER], tool_choice="none"),
    chat("tools, one named", **NAMED),
    chat("tools, one required", tools=[WEATHER], tool_choice="required", max_tokens=40),
    chat("tools, automatic", tools=[WEATHER], tool_choice="auto"),
    chat("user, metadata, store", user="me", metadata={"a": "b"}, store=False),
    chat("null fields", stop=None, logprobs=None, tools=None, n=None),
    chat("parts", parts=True),
    chat("earlier turns", turns=[("user", "Hello!"), ("assistant", "Hello. What is it?")]),
    chat("own system message", system="Answer in capital letters."),
    chat("stream", stream=True),
    chat("stream with usage", **USAGE),
    chat("stream with usage in every chunk", stream=True, stream_options={**INCLUDED, "continuous_usage_stats": True}),
    chat("stream, n", n=2, temperature=1.0, seed=7, **USAGE),
    chat("stream, logprobs", logprobs=True, top_logprobs=2, **USAGE),
    chat("stream, stop", stop=["."], **{**USAGE, "max_tokens": 40}),
    chat("stream, json_schema", response_format=FORMAT, **USAGE),
    chat("stream, a named tool", **NAMED, **USAGE),
    chat("stream, token ids", stream=True, **extra(return_token_ids=True)),
    chat("temperature below 0", temperature=-1),
    chat("no tokens", max_tokens=0),
    chat("a window of tokens", WINDOW, max_tokens=100_000),
    chat("top_p above 1", top_p=2),
    chat("no messages", messages=[]),
    chat("100,000 answers", n=100_000),
    chat("17 answers", NO_LIMIT, n=17),
    chat("top_logprobs alone", top_logprobs=2),
    chat("many logprobs", logprobs=True, top_logprobs=100),
    chat("a schema that is none", **extra(structured_outputs={"json": {"type": 7}})),
    chat("another model", another="gpt-4"),
    chat("a prompt without room", question="word " * 5000),
    chat("an unknown role", "refused, as OpenAI does", turns=[("wizard", "Hello!")]),
    chat("a picture", picture=True),
    chat("an unknown field", STRICT, **extra(unknown=1)),
    chat("another template", STRICT, **extra(chat_template="{{ messages }}")),
    chat("continue the answer", STRICT, **extra(continue_final_message=True, add_generation_prompt=False)),
    text("plain"),
    text("token ids", prompt=[64, 8391, 288]),
    text("several", prompt=["A ticket", "A dog"]),
    text("several lists of token ids", prompt=[[64, 8391], [64, 288]]),
    text("n", n=2, temperature=1.0, seed=7),
    text("echo", echo=True),
    text("logprobs", logprobs=3),
    text("echo and logprobs", echo=True, logprobs=1),
    text("echo alone", echo=True, max_tokens=0),
    text("stop", stop=["."], max_tokens=40),
    text("structured: regex", **extra(structured_outputs={"regex": "[0-9]{2} euros"})),
    text("return_token_ids", **extra(return_token_ids=True)),
    text("stream", stream=True),
    text("stream with usage", **USAGE),
    text("stream, several", **USAGE, prompt=["A ticket", "A dog"]),
    text("stream, logprobs", logprobs=2, **USAGE),
    text("suffix", suffix="a"),
    text("an empty prompt", prompt=""),
    text("an unknown token", prompt=[10**6]),
    text("too many tokens", prompt="word " * 5000),
    response("plain", OURS),
    response("messages", OURS, turns=[("user", "Hello!"), ("assistant", "Hello. What is it?")]),
    response("json_schema", OURS, text={"format": {"type": "json_schema", "name": "price", "schema": SCHEMA}}),
    response("metadata", OURS, metadata={"a": "b"}),
    response("stream", OURS, stream=True),
    response("temperature below 0", temperature=-1),
    response("an earlier response", "none is stored, so that the field is refused", previous_response_id="resp_1"),
    Call("models: list", "models.list", expected="the setups, with fewer fields than vLLM's"),
    Call("models: one", "models.retrieve", expected="vLLM has no such route"),
    Call("models: none such", "models.retrieve", {"another": "gpt-4"}),
]  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One of the two servers; `turn` makes of a question what the model is shown."""

    url: str
    model: str
    turn: Callable[[str], str]
    system: str

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=120)


def arguments(call: Call, side: Side) -> dict[str, Any]:
    """What the client's method is called with."""
    fields = dict(call.fields)
    own = {name: fields.pop(name, None) for name in ("turns", "system", "parts", "question", "picture", "another")}
    model = own["another"] or side.model
    if call.api == "models.list":
        return {}
    if call.api == "models.retrieve":
        return {"model": model}
    fields["model"] = model
    if call.api == "completions.create":
        return fields
    content: Any = side.turn(own["question"] or QUESTION)
    if own["parts"]:
        content = [{"type": "text", "text": content}]
    if own["picture"]:
        content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    turns = [{"role": role, "content": said} for role, said in own["turns"] or ()]
    turns.append({"role": "user", "content": content})
    system = own["system"] or side.system
    if call.api == "responses.create":
        return {"input": turns if own["turns"] else content, "instructions": system, **fields}
    return {"messages": [{"role": "system", "content": system}, *turns], **fields}


def ask(call: Call, side: Side) -> Any:
    """What came back, as JSON."""
    with side.client() as client:
        method: Any = client
        for name in call.api.split("."):
            method = getattr(method, name)
        try:
            answer = method(**arguments(call, side))
            if call.fields.get("stream"):
                return put_together([chunk.model_dump(exclude_unset=True, mode="json") for chunk in answer])
            return answer.model_dump(exclude_unset=True, mode="json")
        except openai.APIStatusError as error:
            return {"refused": error.status_code, "class": type(error).__name__}


def put_together(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A stream as one object: the pieces of each choice joined, the last of what is told again, and all shapes."""
    choices: dict[int, dict[str, Any]] = {}
    told: dict[str, Any] = {}
    shapes: list[str] = []
    for chunk in chunks:
        if "type" in chunk:  # an event of the Responses API
            shapes.append(str(chunk["type"]))
            told.update({"text": chunk["text"]} if "text" in chunk else {})
            told.update({"response": chunk["response"]} if "response" in chunk else {})
            continue
        shapes.append(" ".join(sorted({*chunk} - UNCOMPARED)))
        told |= {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        if chunk["choices"] == [] or "usage" not in told:
            told["usage"] = chunk.get("usage")
        for choice in chunk["choices"]:
            shapes.append("choice: " + " ".join(sorted(choice)))
            into = choices.setdefault(choice["index"], {})
            _join(into, {name: value for name, value in choice.items() if name != "index"})
    return {**told, "choices": [choices[index] for index in sorted(choices)], "shapes": sorted(set(shapes))}


def _join(into: dict[str, Any], piece: Mapping[str, Any]) -> None:
    for name, value in piece.items():
        there = into.get(name)
        if isinstance(value, Mapping):
            into[name] = there if isinstance(there, dict) else {}
            _join(into[name], value)
        elif isinstance(value, str) and isinstance(there, str) and name in ("content", "text", "arguments"):
            into[name] = there + value
        elif name == "tool_calls" and isinstance(value, list):
            into[name] = there or [{} for _ in value]
            for old, new in zip(into[name], value, strict=False):
                _join(old, new)
        elif isinstance(value, list) and isinstance(there, list):
            into[name] = there + value
        elif value is not None or name not in into:
            into[name] = value


def differences(ours: Any, theirs: Any, path: str = "") -> Iterable[str]:
    """The paths at which two JSON values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted({*ours, *theirs} - UNCOMPARED):
            where = f"{path}.{name}".strip(".")
            if name not in theirs:
                yield f"{where}: only ours"
            elif name not in ours:
                yield f"{where}: only vLLM's"
            else:
                yield from differences(ours[name], theirs[name], where)
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{path}: {len(ours)} and {len(theirs)} items"
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(one, other, f"{path}[{number}]")
    elif isinstance(ours, float) and isinstance(theirs, int | float):
        if not math.isclose(ours, theirs, abs_tol=1e-3):
            yield f"{path}: {ours} and {theirs}"
    elif ours != theirs:
        yield f"{path}: {ours!r:.60} and {theirs!r:.60}"


def ours_command(folder: Path, port: int, place: Path) -> list[str]:
    """`ragft serve` over a made domain, which needs no training and no index."""
    values = {
        "name": "matrix",
        "model": {"base": str(folder)},
        "workspace": str(place / "workspace"),
        "prompt": {"system": SYSTEM},
        "engine": SETTINGS.model_dump(),
        "serve": {"setups": ["prompt-only"], "port": port, "grounding": "off"},
    }
    config = place / "ragft.yaml"
    config.write_text(yaml.safe_dump(values))
    return [sys.executable, "-m", "ragft", "serve", "-c", str(config)]


def langchain(side: Side) -> list[str]:
    """What LangChain's ChatOpenAI got, unchanged but for the address."""
    from langchain_openai import ChatOpenAI
    from pydantic import BaseModel

    model = ChatOpenAI(base_url=side.url + "/v1", api_key="none", model=side.model, temperature=0, max_tokens=12)
    told = model.invoke([("system", SYSTEM), ("user", QUESTION)])
    streamed = "".join(str(chunk.content) for chunk in model.stream(QUESTION))
    usage = [chunk.usage_metadata for chunk in model.stream(QUESTION, stream_usage=True) if chunk.usage_metadata]

    class Price(BaseModel):
        euros: int

    longer = ChatOpenAI(base_url=side.url + "/v1", api_key="none", model=side.model, temperature=0, max_tokens=64)
    structured = longer.with_structured_output(Price, method="json_schema").invoke(QUESTION)
    batch = model.batch([QUESTION, "Why?"])
    assert told.content == model.invoke([("system", SYSTEM), ("user", QUESTION)]).content
    assert isinstance(structured, Price) and usage and all(one.content for one in batch)
    return [f"invoke: {told.content!r}", f"usage: {told.usage_metadata}", f"stream: {streamed!r}",
            f"usage of a stream: {usage[-1]}", f"structured: {structured!r}", f"batch: {len(batch)}"]  # fmt: skip


def llamaindex(side: Side) -> list[str]:
    """What LlamaIndex's OpenAILike got, unchanged but for the address."""
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(
        api_base=side.url + "/v1", api_key="none", model=side.model, is_chat_model=True, temperature=0, max_tokens=12
    )
    asked = [ChatMessage(role="system", content=SYSTEM), ChatMessage(role="user", content=QUESTION)]
    told = model.chat(asked)
    streamed = "".join(chunk.delta or "" for chunk in model.stream_chat(asked))
    assert streamed == told.message.content
    return [f"chat: {told.message.content!r}", f"stream: {streamed!r}", f"complete: {model.complete(QUESTION).text!r}"]


CLIENTS: dict[str, Callable[[Side], list[str]]] = {"langchain": langchain, "llamaindex": llamaindex}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--only", default="", help="calls whose name has this text")
    parser.add_argument("--client", choices=CLIENTS, action="append", default=[])
    parser.add_argument("--tools", type=Path, help="folder that the clients were installed into")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.tools:
        sys.path.append(str(options.tools))
    folder, ours, raw = resolve_model(options.model), free_port(), free_port()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        command = ours_command(folder, ours, Path(place))
        with (
            process("ragft", command, ours, "prompt-only", "/health/ready") as one,
            process("vllm", raw_command(folder, raw), raw, "raw", "/health") as other,
        ):
            sides = (Side(one.url, one.model, str, SYSTEM), Side(other.url, other.model, user_turn, SYSTEM))
            for client in options.client:
                print(client, *CLIENTS[client](sides[0]), sep="\n  ")
            for call in CALLS:
                if options.only in call.name:
                    told = [ask(call, side) for side in sides]
                    found = list(differences(*told))
                    verdict = "equal" if not found else "on purpose" if call.expected else "DIFFERENT"
                    rows.append({"call": call.name, "verdict": verdict, "differences": found, "told": told})
                    why = f": {call.expected}" if found and call.expected else ""
                    refused = f" ({told[0]['refused']})" if "refused" in told[0] else ""
                    print(f"{call.name:45}{verdict}{refused}{why}", flush=True)
                    for line in found[:12]:
                        print(f"    {line}")
    counts = {
        verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("equal", "on purpose", "DIFFERENT")
    }
    print(f"{len(rows)} calls: {counts}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    sys.exit(1 if counts["DIFFERENT"] else 0)


if __name__ == "__main__":
    main()
