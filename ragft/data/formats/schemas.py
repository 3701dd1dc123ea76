"""What other tools take, as their makers publish it; every row that is written is checked against it.

A model for each kind of row, strict and without further fields. The pages that they were written from are named; where
a page is silent, the model allows what the page's own examples show and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(min_length=1)]


class Published(BaseModel):
    """A row, or a part of one, that another tool reads."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _refuse_other_than_turns(roles: list[str], user: str, assistant: str) -> None:
    """Refuses what is not user and assistant in turn, the last one the assistant's."""
    wanted = [user, assistant] * (len(roles) // 2)
    if roles != wanted or not roles:
        raise ValueError(f"turns must be {user} and {assistant} in turn, and end with {assistant}")


# --- OpenAI and Azure


class OpenAIMessage(Published):
    """A message; `weight` 0 leaves an assistant's message out of the loss."""

    role: Literal["system", "user", "assistant"]
    content: Text
    weight: Literal[0, 1] | None = None

    @model_validator(mode="after")
    def _weighs_answers_alone(self) -> OpenAIMessage:
        if self.weight is not None and self.role != "assistant":
            raise ValueError("`weight` belongs to messages of the assistant")
        return self


class OpenAIChat(Published):
    """A line of a file for supervised fine-tuning.

    https://platform.openai.com/docs/guides/supervised-fine-tuning and, for Azure AI Foundry,
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning: JSON Lines in the format of chat
    completions, the last message the assistant's, `weight` 0 or 1 at messages of the assistant, 10 examples at least,
    less than 512 MB. Azure asks for UTF-8 with a byte order mark.
    """

    messages: list[OpenAIMessage] = Field(min_length=2)

    @model_validator(mode="after")
    def _ends_with_an_answer(self) -> OpenAIChat:
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message must be the assistant's")
        if not any(message.role == "user" for message in self.messages):
            raise ValueError("at least one message must be the user's")
        return self


class OpenAIPrompt(Published):
    """What both answers of a preference reply to."""

    messages: list[OpenAIMessage] = Field(min_length=1)


class OpenAIAnswer(Published):
    """One of the two answers."""

    role: Literal["assistant"]
    content: Text


class OpenAIPreference(Published):
    """A line of a file for direct preference optimisation.

    https://developers.openai.com/api/docs/guides/direct-preference-optimization and
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning-direct-preference-optimization: `input` with
    its `messages`, and two outputs, each with a message of the assistant.
    """

    input: OpenAIPrompt
    preferred_output: list[OpenAIAnswer] = Field(min_length=1, max_length=1)
    non_preferred_output: list[OpenAIAnswer] = Field(min_length=1, max_length=1)


# --- Vertex AI


class VertexPart(Published):
    """A piece of text."""

    text: Text


class VertexContent(Published):
    """A turn."""

    role: Literal["user", "model"]
    parts: list[VertexPart] = Field(min_length=1)


class VertexInstruction(Published):
    """The system prompt; its role is ignored."""

    role: Literal["system"]
    parts: list[VertexPart] = Field(min_length=1)


class VertexChat(Published):
    """A line of a file for supervised tuning of Gemini.

    https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare: `contents` with the
    roles `user` and `model`, the system prompt in `systemInstruction`, JSON Lines of 1 GB at most; 100 examples to
    begin with.
    """

    instruction: VertexInstruction | None = Field(None, alias="systemInstruction")
    contents: list[VertexContent] = Field(min_length=2)

    @model_validator(mode="after")
    def _takes_turns(self) -> VertexChat:
        _refuse_other_than_turns([one.role for one in self.contents], "user", "model")
        return self


# --- SageMaker JumpStart


class JumpStartPair(Published):
    """A line of `train.jsonl` for instruction tuning, with the fields that `template.json` names.

    https://docs.aws.amazon.com/sagemaker/latest/dg/jumpstart-foundation-models-fine-tuning-instruction-based.html:
    JSON Lines with the suffix .jsonl, all files of a folder are read, and `template.json` beside them says of which
    fields `prompt` and `completion` are made.
    """

    prompt: Text
    completion: Text


class JumpStartTemplate(Published):
    """`template.json`."""

    prompt: Text
    completion: Text


# --- Axolotl


class AxolotlMessage(Published):
    """A message; `train` says whether the loss is taken over it (`message_field_training`)."""

    role: Literal["system", "user", "assistant"]
    content: Text
    train: bool


class AxolotlChat(Published):
    """A line of a dataset of the type `chat_template`.

    https://docs.axolotl.ai/docs/dataset-formats/conversation.html: messages with role and content, and, with
    `message_field_training` and no `roles_to_train`, a flag for each.
    """

    messages: list[AxolotlMessage] = Field(min_length=2)

    @model_validator(mode="after")
    def _trains_an_answer(self) -> AxolotlChat:
        if not any(one.train for one in self.messages if one.role == "assistant"):
            raise ValueError("no answer of the assistant is trained")
        return self


class Turn(Published):
    """A turn with role and content."""

    role: Literal["system", "user", "assistant"]
    content: Text


class AxolotlPreference(Published):
    """A line of a dataset of the type `chat_template.default` for DPO: https://docs.axolotl.ai/docs/rlhf.html."""

    messages: list[Turn] = Field(min_length=1)
    chosen: OpenAIAnswer
    rejected: OpenAIAnswer


# --- Unsloth


class UnslothChat(Published):
    """A row with `conversations`, as `standardize_sharegpt` leaves it and the notebooks apply the chat template to it.

    https://docs.unsloth.ai/basics/chat-templates and
    https://docs.unsloth.ai/get-started/fine-tuning-llms-guide/datasets-guide.
    """

    conversations: list[Turn] = Field(min_length=2)

    @model_validator(mode="after")
    def _ends_with_an_answer(self) -> UnslothChat:
        if self.conversations[-1].role != "assistant":
            raise ValueError("the last turn must be the assistant's")
        return self


class TrlPreference(Published):
    """A row of TRL's conversational preference format, which Unsloth's DPO trainer takes.

    https://huggingface.co/docs/trl/dataset_formats#preference.
    """

    prompt: list[Turn] = Field(min_length=1)
    chosen: list[OpenAIAnswer] = Field(min_length=1, max_length=1)
    rejected: list[OpenAIAnswer] = Field(min_length=1, max_length=1)


# --- LLaMA-Factory


class ShareGptTurn(Published):
    """A turn, whose sender and text have the default tags."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)
    sender: Literal["human", "gpt"] = Field(alias="from")
    value: Text


class ShareGptAnswer(Published):
    """One of two answers."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)
    sender: Literal["gpt"] = Field(alias="from")
    value: Text


class LlamaFactoryChat(Published):
    """A row of the format `sharegpt`.

    https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md: human at odd places and gpt at even ones, the
    system prompt in a column of its own.
    """

    conversations: list[ShareGptTurn] = Field(min_length=2)
    system: Text | None = None

    @model_validator(mode="after")
    def _takes_turns(self) -> LlamaFactoryChat:
        _refuse_other_than_turns([one.sender for one in self.conversations], "human", "gpt")
        return self


class LlamaFactoryPreference(Published):
    """A row of a dataset with `ranking`, of the same page: the conversation ends with the human's turn."""

    conversations: list[ShareGptTurn] = Field(min_length=1)
    chosen: ShareGptAnswer
    rejected: ShareGptAnswer
    system: Text | None = None

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> LlamaFactoryPreference:
        _refuse_other_than_turns([*(one.sender for one in self.conversations), "gpt"], "human", "gpt")
        return self


class LlamaFactoryColumns(Published):
    """Which column holds what."""

    messages: Literal["conversations"]
    system: Literal["system"]
    chosen: Literal["chosen"] | None = None
    rejected: Literal["rejected"] | None = None


class LlamaFactoryDataset(Published):
    """An entry of `dataset_info.json`, of the same page."""

    file_name: Text
    formatting: Literal["sharegpt"]
    columns: LlamaFactoryColumns
    ranking: bool = False
