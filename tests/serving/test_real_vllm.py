"""The endpoint over real vLLM, asked by the official client over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.domains import application
from support.engines import SETTINGS, EngineThread
from support.fakes import FakeRetriever
from support.garbage import VALUES
from support.promql import expressions, series, told, value
from support.serving import running_with, until

from ragft.config import Config
from ragft.engine.base import ChatRequest, PromptTooLong, RequestRefused, TextRequest
from ragft.messages import turn
from ragft.pipeline import Answer, Pipeline
from ragft.setups import SETUPS
from ragft.traffic.log import experiments, read_outcomes
from serving.api.schemas import Chat, Completion
from serving.app import create_app
from serving.security import KEY_VARIABLE, Keys

pytestmark = pytest.mark.slow
CONFIG = Config.model_validate(
    {
        "name": "trains",
        "prompt": {"system": "House style."},
        "engine": SETTINGS,
        "serve": {
            "setups": ["rag-only", "prompt-only"],
            "split": {
                "arms": {"now": {"setup": "rag-only", "share": 0.5}, "without": {"setup": "prompt-only", "share": 0.5}},
                "decides": "refused",
                "window": 0,
            },
        },
    }
)
QUESTION = "What does a ticket cost? Answer with the number of the passage in brackets."


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def url(vllm_engine: EngineThread, workspace: Path) -> Iterator[str]:
    """An endpoint over the real engine, in the engine's own event loop."""
    engine = vllm_engine.engine

    async def load() -> Pipeline:
        return Pipeline(CONFIG, {"base": engine}, FakeRetriever())  # type: ignore[arg-type]

    config = CONFIG.model_copy(update={"workspace": workspace})
    app = create_app(application(config), load=load, keys=Keys.load(None, {KEY_VARIABLE: "secret"}))
    with running_with(vllm_engine, app) as served:
        yield served.url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url + "/v1", api_key="secret", max_retries=0) as client:
        yield client


def messages(text: str = QUESTION) -> list[openai.types.chat.ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": text}]


def test_an_answer_has_usage_versions_and_citations(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="rag-only", messages=messages())
    answer = raw.parse()
    assert answer.model == "rag-only"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 < answer.usage.completion_tokens <= SETTINGS.max_tokens
    assert answer.model_extra is not None
    assert answer.model_extra["ragft"]["index_version"] == raw.headers["x-ragft-index-version"]
    assert isinstance(answer.model_extra["ragft"]["citations"], list)


def test_a_citation_in_the_answer_is_the_passage_it_names(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="rag-only",
        messages=messages(),
        # A tiny model need not cite of its own accord; what is tested is that a citation is understood.
        extra_body={"structured_outputs": {"choice": ["It costs 12 euros [1]."]}},
    )
    assert answer.model_extra is not None
    (citation,) = answer.model_extra["ragft"]["citations"]
    assert citation["number"] == 1
    assert citation["text"] == "A ticket costs 12 euros."


def test_a_stream_says_what_the_whole_answer_says_and_ends_with_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="rag-only", messages=messages())
    stream = client.chat.completions.create(
        model="rag-only", messages=messages(), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    carriers = [chunk for chunk in chunks if chunk.model_extra and "ragft" in chunk.model_extra]
    assert len(carriers) == 1
    assert carriers[0].choices[0].finish_reason == whole.choices[0].finish_reason


def test_an_experiment_shares_the_traffic_and_records_what_became_of_it(client: openai.OpenAI, workspace: Path) -> None:
    told = []
    for number in range(8):
        stream = number % 2 == 1
        answer = client.chat.completions.create(
            model="split", messages=messages(), user=f"user {number}", stream=stream, max_tokens=8
        )  # type: ignore[call-overload]
        fields = [chunk.model_extra["ragft"] for chunk in answer if "ragft" in chunk.model_extra] if stream else []
        told += fields or [answer.model_extra["ragft"]]
    root = workspace / "experiments"
    (recorded,) = experiments(root)
    until(lambda: len(read_outcomes(root, recorded.id)[0]) == 8)
    found, _ = read_outcomes(root, recorded.id)
    assert [one.arm for one in found] == [one["arm"] for one in told]
    assert {one["experiment"] for one in told} == {recorded.id} and {one.arm for one in found} == {"now", "without"}
    for one in found:
        assert one.status == 200 and not one.failed and 0 < one.answer_tokens <= 8
        assert one.first_token is not None and one.seconds is not None and 0 < one.first_token <= one.seconds
        assert (one.index_version is not None) == (one.arm == "now")


def test_stop_seed_n_and_logprobs_work(client: openai.OpenAI) -> None:
    def ask(**fields: object) -> openai.types.chat.ChatCompletion:
        return client.chat.completions.create(  # type: ignore[no-any-return, call-overload]
            model="prompt-only", messages=messages("Tell me a story about a dragon."), **fields
        )

    text = ask().choices[0].message.content or ""
    word = text.split()[5]
    assert word not in (ask(stop=[word]).choices[0].message.content or "")
    first, second = (ask(temperature=1.5, seed=seed).choices[0].message.content for seed in (1, 2))
    assert first != second
    assert len(ask(n=2, temperature=1.0, seed=3).choices) == 2
    logprobs = ask(logprobs=True, top_logprobs=2, max_tokens=3).choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert len(logprobs.content) == 3
    assert ask(max_tokens=3).choices[0].finish_reason == "length"


def test_the_statuses_of_wrong_requests(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="rag-only, prompt-only"):
        client.chat.completions.create(model="gpt-4", messages=messages())
    for fields in ({"temperature": -1}, {"max_tokens": 0}, {"top_p": 2}, {"stop": [7]}, {"stop": ["x"] * 10_000}):
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(  # type: ignore[call-overload]
                    model="rag-only", messages=messages(), stream=stream, **fields
                )
            if fields == {"stop": ["x"] * 10_000}:
                break
    with pytest.raises(openai.BadRequestError, match="leaves no room for an answer"):
        client.chat.completions.create(model="rag-only", messages=messages("word " * 3000))
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url + "/v1", api_key="guess").models.list()
    assert client.chat.completions.create(model="rag-only", messages=messages(), max_tokens=1)


def test_a_client_that_goes_away_frees_the_engines_slot(
    client: openai.OpenAI, url: str, vllm_engine: EngineThread
) -> None:
    long = messages("Write a very long story about a dragon, at least a thousand words.")
    for stream in (True, False):
        with pytest.raises(openai.APITimeoutError):
            chunks = client.with_options(timeout=1.0).chat.completions.create(
                model="prompt-only", messages=long, max_tokens=800, stream=stream
            )
            if stream:
                next(iter(chunks))  # type: ignore[call-overload]
                chunks.close()  # type: ignore[union-attr]
                raise openai.APITimeoutError(httpx.Request("POST", url))
        until(lambda: vllm_engine.engine.unfinished == 0, 2.0)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["rag-only", "prompt-only", "split"]


def test_a_tool_call_conversation_keeps_the_passages_in_the_users_turn(client: openai.OpenAI, tmp_path: Path) -> None:
    conversation = [
        *messages(),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "price", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "12"},
    ]
    answer = client.chat.completions.create(model="rag-only", messages=conversation)  # type: ignore[arg-type]
    assert answer.choices[0].message.content


# --- what was evaluated is what is served


@pytest.fixture(scope="module")
def pipeline(vllm_engine: EngineThread) -> Pipeline:
    """The pipeline as the evaluation makes it, over the engine that the endpoint serves with."""
    return Pipeline(CONFIG, {"base": vllm_engine.engine}, None)


def evaluated(thread: EngineThread, pipeline: Pipeline, setup: str, question: str) -> Answer:
    (found,) = FakeRetriever().search([question])
    return thread.call(pipeline.answer(pipeline.render(SETUPS[setup], question, found)))


@pytest.mark.parametrize("setup", ["rag-only", "prompt-only"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_evaluated_prompt_gets_the_same_token_ids_from_the_endpoint(
    client: openai.OpenAI, vllm_engine: EngineThread, pipeline: Pipeline, setup: str, stream: bool
) -> None:
    # The last one leaves room for a few tokens of an answer only, or none for the passage.
    for question in (QUESTION, "Why?\t", "Wie viel, né Äöü 你好 🚂? <|im_end|>", "long " * 940):
        answer = evaluated(vllm_engine, pipeline, setup, question)
        served = client.chat.completions.create(  # type: ignore[call-overload]
            model=setup, messages=messages(question), stream=stream, extra_body={"return_token_ids": True}
        )
        parts = list(served) if stream else [served]
        prompt = parts[0].model_extra["prompt_token_ids"]
        choices = [choice for part in parts for choice in part.choices]
        ids = [token for choice in choices for token in choice.model_extra.get("token_ids") or ()]
        assert (tuple(prompt), tuple(ids)) == (answer.prompt_token_ids, answer.token_ids)
        assert choices[-1].finish_reason == answer.finish_reason
    # In both, the last prompt lost its passage, or else the answer was clamped.
    assert answer.passages_dropped == (setup == "rag-only")
    assert setup == "rag-only" or len(answer.token_ids) < SETTINGS.max_tokens


@pytest.mark.parametrize("setup", ["rag-only", "prompt-only"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("words", [1020, 900_000])
def test_an_evaluated_prompt_that_is_too_long_gets_the_same_refusal_from_the_endpoint(
    client: openai.OpenAI, vllm_engine: EngineThread, pipeline: Pipeline, setup: str, stream: bool, words: int
) -> None:
    question = "w " * words
    with pytest.raises(PromptTooLong) as refused:
        evaluated(vllm_engine, pipeline, setup, question)
    with pytest.raises(openai.BadRequestError) as served:
        client.chat.completions.create(model=setup, messages=messages(question), stream=stream)  # type: ignore[call-overload]
    assert served.value.body["message"] == str(refused.value)  # type: ignore[index]


def test_vllms_metrics_stand_beside_ours_and_a_stream_is_counted_in_tokens(url: str, client: openai.OpenAI) -> None:
    bearer = {"authorization": "Bearer secret"}

    def counted() -> tuple[float, float]:
        page = httpx.get(url + "/metrics", headers=bearer).text
        queued = value(page, "ragft_stage_seconds_count", stage="queue", setup="rag-only")
        return value(page, "ragft_answer_tokens_total", setup="rag-only"), queued

    before = counted()
    chunks = list(client.chat.completions.create(model="rag-only", messages=messages(), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    after = counted()
    whole = client.chat.completions.create(model="rag-only", messages=messages())
    assert whole.usage is not None
    assert (after[0] - before[0], after[1] - before[1]) == (whole.usage.completion_tokens, 1)
    names = {name for expression in expressions().values() for name in series(expression) if name.startswith("vllm:")}
    assert names and names - told(httpx.get(url + "/metrics", headers=bearer).text) == set()


def test_a_trace_reaches_vllm_and_a_deep_look_asks_it_for_a_token(url: str, vllm_engine: EngineThread) -> None:
    engine = vllm_engine.engine
    headers = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    request = ChatRequest([turn("user", "Say yes.")], {"max_tokens": 2, "temperature": 0}, headers)
    plain = ChatRequest(request.messages, request.options)
    # vLLM warns once and goes on where it was not told of a collector.
    assert vllm_engine.call(engine.chat(request)).text == vllm_engine.call(engine.chat(plain)).text
    deep = httpx.get(url + "/health/deep", headers={"authorization": "Bearer secret"})
    assert (deep.status_code, deep.json()["engines"]["base"]["status"]) == (200, "ok")


# --- OpenAI's other APIs, and requests that none of them has


def test_a_text_is_continued_alike_as_text_as_token_ids_and_as_a_stream(client: openai.OpenAI) -> None:
    def complete(**fields: object) -> openai.types.Completion:
        return client.completions.create(  # type: ignore[no-any-return, call-overload]
            model="prompt-only", max_tokens=8, extra_body={"return_token_ids": not fields.get("echo")}, **fields
        )

    whole = complete(prompt="The train to Paris leaves at")
    assert whole.model == "prompt-only" and whole.usage is not None and whole.usage.completion_tokens == 8
    ids = whole.choices[0].model_extra["prompt_token_ids"]  # type: ignore[index]
    assert complete(prompt=ids).choices[0].text == whole.choices[0].text
    parts = list(complete(prompt="The train to Paris leaves at", stream=True))  # type: ignore[call-overload]
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    scored = complete(prompt=["Paris is", "Rome is"], logprobs=1, echo=True)
    assert [choice.text.split()[0] for choice in scored.choices] == ["Paris", "Rome"]
    for wrong in ("", [], [10**6], "word " * 3000):
        with pytest.raises(openai.BadRequestError) as refused:
            complete(prompt=wrong)
        assert refused.value.param == "prompt", wrong


def test_a_response_says_what_a_chat_completion_says(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(model="rag-only", messages=messages())
    whole = client.responses.create(model="rag-only", input=QUESTION)
    with client.responses.stream(model="rag-only", input=QUESTION) as stream:
        streamed = stream.get_final_response()
    assert whole.output_text == streamed.output_text == chat.choices[0].message.content
    assert whole.usage is not None and streamed.usage == whole.usage and chat.usage is not None
    assert whole.usage.input_tokens == chat.usage.prompt_tokens
    assert whole.model_extra["ragft"]["citations"] == chat.model_extra["ragft"]["citations"]  # type: ignore[index]


def test_an_answer_longer_than_the_room_is_clamped_and_not_refused(client: openai.OpenAI) -> None:
    for limit in (SETTINGS.max_model_len - 1, 10**30):
        answer = client.chat.completions.create(
            model="prompt-only", messages=messages("w " * 980), max_tokens=limit, extra_body={"ignore_eos": True}
        )
        assert answer.usage is not None and answer.usage.total_tokens == SETTINGS.max_model_len


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_value_of_any_field_is_an_error_of_the_engines(vllm_engine: EngineThread, data: st.DataObject) -> None:
    """Past the endpoint's own checks, which would stop nearly all of these."""
    kind = data.draw(st.sampled_from([Chat, Completion]))
    field = data.draw(st.sampled_from(sorted({*kind.__struct_fields__, *_OTHERS} - {"stream"})))
    options = {"max_tokens": 1, "temperature": 0, field: data.draw(VALUES)}
    engine = vllm_engine.engine
    try:
        if kind is Chat:
            vllm_engine.call(engine.chat(ChatRequest([{"role": "user", "content": "Why?"}], options)))
        else:
            vllm_engine.call(engine.complete(TextRequest("Why", options)))
    except RequestRefused as refused:
        assert refused.status == 400 and len(str(refused)) < 2_000
    vllm_engine.call(engine.check_health())


_OTHERS = ("prompt_logprobs", "logprob_token_ids", "cache_salt", "priority", "tool_choice", "documents")
