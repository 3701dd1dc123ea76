"""`/v1/chat/completions` and `/v1/models` over a stand-in for the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.domains import application
from support.fakes import HITS, INDEX_VERSION, MODEL_VERSION, hit
from support.serving import Fakes, make_application, until

from ragft.config import Config
from ragft.engine.base import EngineBusy, EngineDead, RequestRefused
from serving.app import create_app
from serving.security import Keys

Client = TestClient[Litestar]
QUESTION = {"role": "user", "content": "What does a ticket cost?"}


def ask(client: Client, **fields: Any) -> Any:
    return client.post("/v1/chat/completions", json={"model": "hybrid", "messages": [QUESTION], **fields})


def events(answer: Any) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_an_answer_carries_the_passages_that_it_cites_and_the_versions_it_came_from(client: Client) -> None:
    answer = ask(client)
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == "hybrid"
    assert body["choices"][0]["message"]["content"] == "Costs 12 euros [1]."
    assert body["ragft"]["setup"] == "hybrid"
    assert [(c["number"], c["document_id"], c["text"]) for c in body["ragft"]["citations"]] == [
        (1, "tickets.md", "A ticket costs 12 euros.")
    ]
    assert body["ragft"]["index_version"] == answer.headers["x-ragft-index-version"] == INDEX_VERSION
    assert body["ragft"]["model_version"] == answer.headers["x-ragft-model-version"] == MODEL_VERSION
    assert 1.5 <= body["ragft"]["timings"]["retrieval_ms"] < 100  # of the search, and of what makes it a query


def test_passages_stand_in_the_last_user_turn_and_the_configured_system_prompt_above(
    client: Client, fakes: Fakes
) -> None:
    earlier = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]
    ask(client, messages=[*earlier, QUESTION])
    messages = fakes.engine.requests[0].messages
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == "House style."
    assert messages[1:3] == earlier
    assert messages[3]["content"] == (
        "Passages:\n[1] Tickets > Prices\nA ticket costs 12 euros.\n\n[2] Dogs > Prices\nDogs travel free.\n\n"
        "Question: What does a ticket cost?"
    )
    assert fakes.retriever.asked == [("Hello What does a ticket cost?", None)]


def test_a_follow_up_says_what_was_searched_for_it_and_what_was_left_out(client: Client, fakes: Fakes) -> None:
    fakes.engine.tokens = ("Costs ", "12 euros ", "[1][3].")
    earlier = [
        QUESTION,
        {"role": "assistant", "content": "word " * 2000},
        QUESTION,
        {"role": "assistant", "content": "12."},
    ]
    messages = [*earlier, {"role": "user", "content": "And dogs?"}]
    whole = ask(client, messages=messages).json()["ragft"]
    last = events(ask(client, messages=messages, stream=True))[-1]["ragft"]
    for found in (whole, last):
        assert found["query"] == "What does a ticket cost? And dogs?" and found["dropped_turns"] == 2
        assert [one["number"] for one in found["citations"]] == [1] and found["invalid_citations"] == 1
    assert fakes.retriever.asked[-1][0] == whole["query"]
    single = ask(client).json()["ragft"]
    assert (single["query"], single["dropped_turns"]) == ("What does a ticket cost?", 0)
    assert ask(client, model="fine-tuned").json()["ragft"]["query"] is None


def test_a_request_with_a_system_message_replaces_the_configured_one(client: Client, fakes: Fakes) -> None:
    ask(client, messages=[{"role": "developer", "content": "Be brief."}, QUESTION])
    messages = fakes.engine.requests[0].messages
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"] == "Be brief."


def test_a_setup_without_tuning_is_asked_as_the_configuration_says(tmp_path: Path, fakes: Fakes) -> None:
    config = make_application(tmp_path, setups=["rag-only", "hybrid"]).config
    told = {"prompt": {**config.prompt.model_dump(), "untuned": {"rag-only": {"prompt": "format-last"}}}}
    app = application(Config.model_validate({**config.model_dump(), **told}))
    with TestClient(create_app(app, load=fakes.load, keys=Keys({})), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        ask(client, model="rag-only")
        ask(client, model="hybrid")
    untuned, tuned = (request.messages[-1]["content"] for request in fakes.engine.requests)
    assert untuned == f"{tuned}\n\nHouse style."


def test_a_setup_without_retrieval_searches_nothing_and_names_no_index(client: Client, fakes: Fakes) -> None:
    answer = ask(client, model="fine-tuned")
    assert fakes.retriever.asked == []
    assert fakes.engine.requests[0].messages[-1]["content"] == "Question: What does a ticket cost?"
    assert "x-ragft-index-version" not in answer.headers
    assert answer.json()["ragft"]["citations"] == []


def test_a_silent_request_is_answered_greedily_within_the_configured_length(client: Client, fakes: Fakes) -> None:
    ask(client, temperature=None)
    assert fakes.engine.requests[0].options["temperature"] == 0
    assert fakes.engine.requests[0].options["max_tokens"] == 96


@pytest.mark.medium
@pytest.mark.parametrize(
    "field",
    [
        {"temperature": 0.5},
        {"top_p": 0.3},
        {"seed": 7},
        {"stop": ["\n"]},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.25},
        {"repetition_penalty": 1.1},
        {"logprobs": True, "top_logprobs": 2},
        {"response_format": {"type": "json_object"}},
        {"max_completion_tokens": 9},
        {"stream_options": {"include_usage": True}, "stream": True},
    ],
)
def test_each_sampling_field_reaches_the_engine(client: Client, fakes: Fakes, field: dict[str, Any]) -> None:
    assert ask(client, **field).status_code == 200
    options = fakes.engine.requests[0].options
    assert {name: options.get(name) for name in field} == field
    assert ("max_tokens" in options) == ("max_completion_tokens" not in field)


def test_top_k_and_return_passages_are_taken_from_the_request(client: Client, fakes: Fakes) -> None:
    body = ask(client, ragft={"top_k": 1, "return_passages": True}).json()
    assert fakes.retriever.asked == [("What does a ticket cost?", 1)]
    assert [passage["document_id"] for passage in body["ragft"]["passages"]] == ["tickets.md"]


@pytest.mark.parametrize("stream", [False, True])
def test_passages_that_do_not_fit_the_prompt_are_left_out_and_counted(
    client: Client, fakes: Fakes, stream: bool
) -> None:
    long = hit("long.md", "Everything", "word " * 2_000)
    fakes.retriever.hits = (HITS[0], long, HITS[1])
    answer = ask(client, stream=stream, ragft={"return_passages": True})
    field = events(answer)[-1]["ragft"] if stream else answer.json()["ragft"]
    assert field["passages_dropped"] == 2
    assert [passage["document_id"] for passage in field["passages"]] == ["tickets.md"]
    assert "[2]" not in fakes.engine.requests[0].messages[-1]["content"]


def test_an_answer_says_that_no_passage_was_left_out(client: Client) -> None:
    assert ask(client).json()["ragft"]["passages_dropped"] == 0


def test_a_stream_ends_its_last_choice_with_the_citations(client: Client) -> None:
    answer = ask(client, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-ragft-index-version"] == INDEX_VERSION
    chunks = events(answer)
    assert {chunk["model"] for chunk in chunks} == {"hybrid"}
    assert ["ragft" in chunk for chunk in chunks] == [False, False, True]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["ragft"]["citations"][0]["document_id"] == "tickets.md"
    assert chunks[-1]["ragft"]["timings"]["ttft_ms"] >= 0


def test_a_stream_of_several_choices_carries_the_citations_once(client: Client) -> None:
    chunks = events(ask(client, stream=True, n=2))
    assert ["ragft" in chunk for chunk in chunks] == [False] * 5 + [True]


def test_an_unknown_model_is_404_and_names_the_deployed_ones(client: Client) -> None:
    answer = ask(client, model="gpt-4")
    assert answer.status_code == 404
    assert "hybrid, fine-tuned" in answer.json()["error"]["message"]
    assert ask(client, model="prompt-only").status_code == 404


@pytest.mark.medium
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, "messages"),
        ({"messages": [QUESTION, {"role": "assistant", "content": "It"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "messages",
        ),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [7]}, "messages"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"n": 100_000}, "n"),
        ({"n": "two"}, "n"),
        ({"messages": [{"role": "tool", "content": "12", "tool_calls": True}]}, "messages.0.tool_calls"),
        ({"structured_outputs": True}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tool_choice": {"function": 7}}, "tool_choice.function"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"ragft": {"topk": 3}}, "ragft.topk"),
        ({"ragft": {"top_k": 0}}, "ragft.top_k"),
        ({"ragft": 7}, "ragft"),
        ({"model": 7}, "model"),
    ],
)
def test_what_is_not_valid_is_400_and_never_reaches_the_engine(
    client: Client, fakes: Fakes, fields: dict[str, Any], param: str
) -> None:
    answer = ask(client, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert fakes.engine.requests == []


def test_a_message_keeps_only_what_a_template_may_read(client: Client, fakes: Fakes) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "price", "arguments": "{}"}}
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "reasoning": {"a": 1}},
        {"role": "tool", "tool_call_id": "1", "content": "12"},
    ]
    assert ask(client, messages=[QUESTION, *turns]).status_code == 200
    assert fakes.engine.requests[0].messages[2:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12"},
    ]


def test_text_parts_are_the_lines_of_one_question(client: Client, fakes: Fakes) -> None:
    parts = [{"type": "text", "text": "What does it cost in 2026"}, {"type": "text", "text": "for 5 people?"}]
    assert ask(client, messages=[{"role": "user", "content": parts}]).status_code == 200
    assert fakes.retriever.asked == [("What does it cost in 2026\nfor 5 people?", None)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestRefused("temperature must be non-negative", param="temperature"), 400),
        (EngineBusy("queue"), 503),
        (EngineDead("gone"), 503),
        (RuntimeError("/secret/path"), 500),
    ],
)
def test_an_error_before_the_first_token_is_a_status_of_its_own(
    client: Client, fakes: Fakes, error: Exception, status: int, stream: bool
) -> None:
    fakes.engine.error = error
    fakes.engine.fails_after = 0 if stream else None
    answer = ask(client, stream=stream)
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "secret" not in answer.text


def test_an_error_amid_a_stream_is_an_event_and_the_stream_ends_as_clients_expect(client: Client, fakes: Fakes) -> None:
    fakes.engine.error = RuntimeError("/secret/path")
    fakes.engine.fails_after = 2
    answer = ask(client, stream=True)
    assert answer.status_code == 200
    chunks = events(answer)
    assert chunks[-1]["error"]["code"] == 500
    assert "secret" not in answer.text
    assert fakes.engine.running == 0


def test_models_are_the_deployed_setups_the_default_first(client: Client) -> None:
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["hybrid", "fine-tuned"]
    assert client.get("/v1/models/hybrid").json()["id"] == "hybrid"
    assert client.get("/v1/models/rag-only").status_code == 404


def test_retrieve_answers_hits_and_their_version(client: Client, fakes: Fakes) -> None:
    body = client.post("/v1/retrieve", json={"query": "tickets", "top_k": 1}).json()
    assert body["index_version"] == INDEX_VERSION
    assert [(hit["number"], hit["document_id"]) for hit in body["hits"]] == [(1, "tickets.md")]
    assert [(passage["number"], passage["text"]) for passage in body["passages"]] == [(1, "A ticket costs 12 euros.")]
    assert fakes.retriever.asked == [("tickets", 1)]


@pytest.mark.parametrize("body", [{}, {"query": ""}, {"query": "a", "top_k": 1000}, {"query": "a", "path": "/etc"}])
def test_a_search_that_is_not_valid_is_400(client: Client, body: dict[str, Any]) -> None:
    assert client.post("/v1/retrieve", json=body).status_code == 400
