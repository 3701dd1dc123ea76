"""Fields of OpenAI's requests, with the types that they may have.

A body is checked against these before anything else is done with it: what has another type is refused by its name,
whichever engine would have had to answer. What values suit the model and each other, the engine decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from serving.errors import ApiError

MAX_CHOICES = 16
MAX_MESSAGES = 1000
MAX_TOP_K = 100
MAX_STOPS = 4  # as vLLM has it
T = TypeVar("T", bound=msgspec.Struct)
_INT32, _INT64 = 2**31 - 1, 2**63 - 1

Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
TokenId = Annotated[int, Meta(ge=0, le=_INT32)]
TopK = Annotated[int, Meta(ge=1, le=MAX_TOP_K)]
Stop = Annotated[str, Meta(min_length=1)]
TokenIdText = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What a stream tells besides the answer."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(msgspec.Struct, forbid_unknown_fields=True):
    """A named JSON schema that the answer must follow."""

    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def __post_init__(self) -> None:
        if self.type == "json_schema" and (self.json_schema is None or self.json_schema.schema is None):
            raise ValueError("Type `json_schema` needs the field `json_schema` with a `schema`")


class StructuredOutputs(msgspec.Struct, forbid_unknown_fields=True):
    """vLLM's constraints of the answer; exactly one of the first six."""

    json: str | dict[str, Any] | None = None
    regex: str | None = None
    choice: Annotated[list[str], Meta(min_length=1)] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: str | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None

    def __post_init__(self) -> None:
        given = [self.json, self.regex, self.choice, self.grammar, self.json_object, self.structural_tag]
        if sum(constraint is not None for constraint in given) != 1:
            raise ValueError("Exactly one constraint must be given")


class RepetitionDetection(msgspec.Struct, forbid_unknown_fields=True):
    """When an answer that repeats itself is ended."""

    max_pattern_size: Annotated[int, Meta(ge=0, le=_INT32)] = 0
    min_pattern_size: Annotated[int, Meta(ge=0, le=_INT32)] = 0
    min_count: Annotated[int, Meta(ge=0, le=_INT32)] = 0


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    """A tool that the model may call."""

    function: Function
    type: Literal["function"] = "function"


class FunctionName(msgspec.Struct):
    """A function by its name."""

    name: str


class NamedTool(msgspec.Struct):
    """The tool that the model must call."""

    function: FunctionName
    type: Literal["function"] = "function"


class CalledFunction(msgspec.Struct):
    """A function as it was called; the arguments are JSON in a text."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct):
    """A call of a tool."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class TextPart(msgspec.Struct):
    """A part of a content. Parts of other kinds are refused: the engine would fetch their addresses."""

    type: Literal["text"]
    text: str


class ChatTurn(msgspec.Struct):
    """One message; what else it has is left out."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.content is None and self.role != "assistant":
            raise ValueError("The message needs a content: a text or a list of text parts")


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """The request's own field `ragft`.

    Attributes:
        top_k: passages to retrieve; None: the configured number.
        return_passages: whether the answer carries all passages of the prompt, cited or not.
        filter: what the passages must pass, in the language of `index.store.filters`.
        conversation: an id of the conversation, of the client's own making; keeps it to one arm of an experiment.
    """

    top_k: TopK | None = None
    return_passages: bool = False
    filter: Any = None
    conversation: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class Sampling(msgspec.Struct, kw_only=True):
    """How a text is generated: OpenAI's fields, and those that vLLM adds. All of them reach the engine."""

    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32)] | None = None
    min_p: Share | None = None
    seed: Annotated[int, Meta(ge=-_INT64 - 1, le=_INT64)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=_INT32)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=MAX_STOPS)] | None = None
    stop_token_ids: list[TokenId] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    logit_bias: dict[TokenIdText, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    allowed_token_ids: list[TokenId] | None = None
    bad_words: list[Stop] | None = None
    structured_outputs: StructuredOutputs | None = None
    repetition_detection: RepetitionDetection | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    user: str | None = None


class Generation(Sampling, kw_only=True):
    """What else chat completions and completions share."""

    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    response_format: ResponseFormat | None = None
    logprob_token_ids: Annotated[list[TokenId], Meta(max_length=128)] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Chat(Generation, kw_only=True):
    """The fields of a chat completion that reach the engine, but for the messages."""

    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Meta(min_length=1)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None


class ChatBody(Chat, kw_only=True):
    """A request to `/v1/chat/completions`; `model` names a deployed setup."""

    model: str
    messages: Annotated[list[ChatTurn], Meta(min_length=1, max_length=MAX_MESSAGES)]
    safety_identifier: str | None = None
    ragft: Options | None = None


class Completion(Generation, kw_only=True):
    """The fields of a completion that reach the engine, but for the prompt."""

    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None


def check(body: Mapping[str, Any], kind: type[T]) -> T:
    """A body as a struct.

    Raises:
        ApiError: 400, with the path of the field that is at fault.
    """
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        refuse(error)


_PLACE = re.compile(r"(?P<reason>.*?)(?: - at (?:`key` in )?`(?P<path>[^`]*)`)?", re.DOTALL)
_INNER = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>[^`]*)`")


def refuse(error: msgspec.ValidationError, where: str = "") -> NoReturn:
    """Says what msgspec found.

    Args:
        where: the path of what was read, if it was not the whole body.

    Raises:
        ApiError: 400, always.
    """
    found = _PLACE.fullmatch(str(error))
    reason, path = (found["reason"], found["path"] or "") if found else (str(error), "")
    inner = _INNER.match(reason)
    parts = [where, re.sub(r"\[(\d*|\.\.\.)\]", r".\1", path.removeprefix("$")), inner["field"] if inner else ""]
    param = re.sub(r"\.+", ".", ".".join(parts)).strip(".")[:80]
    place = f"The field {param!r}" if param else "The body"
    raise ApiError(400, f"{place} is not valid: {reason[:200].removesuffix('.')}.", param or None) from None
