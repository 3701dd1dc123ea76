"""`/v1/completions`, `/v1/responses` and `/v1/embeddings` over stand-ins for engine and encoder."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.fakes import INDEX_VERSION, MODEL_VERSION, USAGE
from support.serving import Fakes, running, until

from ragft.engine.base import EngineBusy, RequestRefused

Client = TestClient[Litestar]


def complete(client: Client, **fields: Any) -> Any:
    return client.post("/v1/completions", json={"model": "hybrid", "prompt": "A ticket", **fields})


def respond(client: Client, **fields: Any) -> Any:
    return client.post("/v1/responses", json={"model": "hybrid", "input": "What does a ticket cost?", **fields})


def embed(client: Client, **fields: Any) -> Any:
    return client.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": "a", **fields})


def events(answer: Any) -> list[Any]:
    lines = [line for event in answer.text.split("\n\n") for line in event.split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]


# --- completions


def test_a_text_is_continued_as_it_stands_and_nothing_is_searched(client: Client, fakes: Fakes) -> None:
    answer = complete(client, stop=["."], echo=True)
    assert answer.status_code == 200
    assert answer.json()["model"] == "hybrid" and answer.json()["choices"][0]["text"] == "Costs 12 euros [1]."
    assert answer.headers["x-ragft-model-version"] == MODEL_VERSION
    (asked,) = fakes.engine.texts
    assert asked.prompt == "A ticket" and fakes.retriever.asked == []
    assert asked.options == {"temperature": 0, "max_tokens": 96, "stop": ["."], "echo": True}


def test_a_stream_of_completions_ends_as_clients_expect(client: Client) -> None:
    answer = complete(client, stream=True, prompt=[1, 2])
    assert answer.text.endswith("data: [DONE]\n\n")
    chunks = events(answer)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Costs 12 euros [1]."
    assert {chunk["model"] for chunk in chunks} == {"hybrid"}


@pytest.mark.parametrize("prompt", ["a", [1, 2], ["a", "b"], [[1], [2, 3]]])
def test_prompts_are_texts_or_token_ids(client: Client, fakes: Fakes, prompt: Any) -> None:
    assert complete(client, prompt=prompt).status_code == 200
    assert fakes.engine.texts[0].prompt == prompt


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a"] * 9, "n": 2}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"suffix": "b"}, "suffix"),
        ({"messages": []}, "messages"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
    ],
)
def test_a_completion_that_is_not_valid_is_400(client: Client, fakes: Fakes, fields: Any, param: str) -> None:
    answer = complete(client, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert fakes.engine.texts == []


def test_a_completion_of_a_setup_that_is_not_deployed_is_404(client: Client) -> None:
    assert complete(client, model="rag-only").status_code == 404


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status"), [(RequestRefused("no", param="stop"), 400), (EngineBusy("queue"), 503)])
def test_an_error_before_the_first_token_is_a_status(
    client: Client, fakes: Fakes, path: str, stream: bool, error: Exception, status: int
) -> None:
    fakes.engine.error = error
    fakes.engine.fails_after = 0 if stream else None
    ask = complete if path.endswith("completions") else respond
    answer = ask(client, stream=stream)
    assert answer.status_code == status


# --- responses


def test_a_response_has_the_answer_its_usage_and_its_provenance(client: Client, fakes: Fakes) -> None:
    answer = respond(client, instructions="Be brief.", max_output_tokens=7, metadata={"a": "b"}, temperature=0.5)
    assert answer.status_code == 200
    assert answer.headers["x-ragft-index-version"] == INDEX_VERSION
    body = openai.types.responses.Response.model_validate(answer.json())
    assert (body.status, body.output_text, body.model) == ("completed", "Costs 12 euros [1].", "hybrid")
    assert body.usage is not None and body.usage.total_tokens == USAGE["total_tokens"]
    assert answer.json()["ragft"]["citations"][0]["document_id"] == "tickets.md"
    (asked,) = fakes.engine.requests
    assert asked.messages[0] == {"role": "system", "content": "Be brief."}
    assert asked.options == {"temperature": 0.5, "max_completion_tokens": 7}


def test_a_conversation_of_items_is_the_same_as_one_of_messages(client: Client, fakes: Fakes) -> None:
    turns = [
        {"role": "developer", "content": [{"type": "input_text", "text": text} for text in ("Be kind", "5 times.")]},
        {"role": "user", "content": "Hello"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "Hello.", "annotations": []}]},
        {"role": "user", "content": "What does it cost?"},
    ]  # fmt: skip
    assert respond(client, input=turns, ragft={"top_k": 1}).status_code == 200
    assert [(turn["role"], turn["content"]) for turn in fakes.engine.requests[0].messages[:3]] == [
        ("system", "Be kind\n5 times."), ("user", "Hello"), ("assistant", "Hello."),
    ]  # fmt: skip
    assert fakes.retriever.asked == [("Hello What does it cost?", 1)]  # the stand-in condenses so


def test_a_schema_of_the_responses_api_is_that_of_chat_completions(client: Client, fakes: Fakes) -> None:
    form = {"type": "json_schema", "name": "price", "schema": {"type": "object"}, "strict": True}
    assert respond(client, text={"format": form}).json()["text"]["format"]["name"] == "price"
    assert fakes.engine.requests[0].options["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "price", "schema": {"type": "object"}, "strict": True},
    }  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.type"),
        ({"input": " "}, "input"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"conversation": "c"}, "conversation"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_what_would_need_a_store_or_is_no_text_is_refused(
    client: Client, fakes: Fakes, fields: Any, param: str
) -> None:
    answer = respond(client, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert fakes.engine.requests == []


def test_a_streamed_response_has_openais_events_in_order(client: Client, fakes: Fakes) -> None:
    told = events(respond(client, stream=True, store=False))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert [event["type"] for event in told] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        *["response.output_text.delta"] * 3, "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert told[0]["response"]["status"] == "in_progress" and told[0]["response"]["output"] == []
    last = told[-1]["response"]
    assert last["output"][0]["content"][0]["text"] == "Costs 12 euros [1]." and last["usage"]["output_tokens"] == 3
    assert last["ragft"]["citations"][0]["document_id"] == "tickets.md"


def test_an_error_amid_a_streamed_response_is_its_last_event(client: Client, fakes: Fakes) -> None:
    fakes.engine.error, fakes.engine.fails_after = RuntimeError("/secret/path"), 2
    answer = respond(client, stream=True)
    assert events(answer)[-1]["type"] == "response.failed"
    assert events(answer)[-1]["response"]["error"]["message"] and "secret" not in answer.text
    assert fakes.engine.running == 0


# --- over a real socket


@pytest.mark.medium
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_the_engine(
    make_app: Callable[..., Litestar], fakes: Fakes, path: str, stream: bool
) -> None:
    fakes.engine.tokens, fakes.engine.pause = ["word "] * 200, 0.05
    body = {"model": "hybrid", ("prompt" if path.endswith("completions") else "input"): "Why?", "stream": stream}
    with running(make_app()) as served:
        asked = httpx.stream("POST", served.url + path, json=body, timeout=2)  # of the ten that all takes
        with pytest.raises(httpx.ReadTimeout), asked as answer:
            next(answer.iter_raw())
            raise httpx.ReadTimeout("a stream that began is left")
        until(lambda: fakes.engine.running == 0)
    assert fakes.engine.cancelled == 1


@pytest.mark.medium
def test_the_official_client_reads_what_is_streamed(make_app: Callable[..., Litestar]) -> None:
    with running(make_app()) as served, openai.OpenAI(base_url=served.url + "/v1", api_key="none") as client:
        with client.responses.stream(model="hybrid", input="What does a ticket cost?") as stream:
            assert stream.get_final_response().output_text == "Costs 12 euros [1]."
        chunks = client.completions.create(model="hybrid", prompt="A ticket", stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == "Costs 12 euros [1]."
        (one,) = client.embeddings.create(model="all-minilm-l6-v2", input="a b").data
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-6)


# --- embeddings


def test_embeddings_are_the_encoders_in_both_encodings(client: Client, fakes: Fakes) -> None:
    texts = ["a", "a b c"] * 40
    body = embed(client, input=texts).json()
    plain = np.array([item["embedding"] for item in body["data"]], dtype=np.float32)
    assert [item["index"] for item in body["data"]] == list(range(80))
    assert np.allclose(plain, fakes.retriever.encoder.encode_passages(texts))
    assert body["usage"] == {"prompt_tokens": 160, "total_tokens": 160} and body["model"] == "all-minilm-l6-v2"
    coded = embed(client, input=texts, encoding_format="base64").json()["data"]
    assert np.array_equal([np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in coded], plain)


def test_fewer_dimensions_are_the_leading_ones_of_unit_length(client: Client) -> None:
    whole = np.array(embed(client).json()["data"][0]["embedding"])
    fewer = np.array(embed(client, dimensions=3).json()["data"][0]["embedding"])
    assert np.allclose(fewer, whole[:3] / np.linalg.norm(whole[:3]))


def test_queries_and_passages_have_their_own_prefix(client: Client) -> None:
    passage, query = embed(client).json()["data"], embed(client, input_type="query").json()["data"]
    assert passage[0]["embedding"] != query[0]["embedding"]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "text-embedding-3-small"}, 404, "model"),
        ({"input": []}, 400, "input"),
        ({"input": ""}, 400, "input"),
        ({"input": [[1, 2]]}, 400, "input.0"),
        ({"input": ["a", "word " * 40]}, 400, "input.1"),
        ({"dimensions": 9}, 400, "dimensions"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
    ],
)
def test_embeddings_that_cannot_be_made_are_refused(client: Client, fields: Any, status: int, param: str) -> None:
    answer = embed(client, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
