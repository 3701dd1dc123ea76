"""One question, without a data set: through this process's own engine, or through a running endpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.console import counted
from ragft.data.history import read_history
from ragft.errors import RagftError, UsageError
from ragft.grounding import Grounder
from ragft.messages import Message, turn
from ragft.pipeline import Pipeline
from ragft.setups import setup_named

if TYPE_CHECKING:
    from index.store.filters import Filter, Labels
    from ragft.stages.application import Application

_TOO_LONG = "the prompt would not have fitted engine.max_model_len; lower index.search.top_k, or raise it"


def ask_once(
    app: Application, question: str, setup_name: str, server: str | None, only: Filter | None, labels: Labels,
    history: Path | None = None,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """The answer as values and as lines to show.

    Args:
        server: address of a running `ragft serve`, as in `http://127.0.0.1:8000`; None: load the model here.
        only: what the passages must pass.
        labels: what the caller may see; a server goes by the API key instead.
        history: JSON file of the turns before the question; None: there are none.

    Raises:
        UsageError: there is no such setup, the question is empty, or the file holds no turns.
        RagftError: the server cannot be asked, or there is no tuned model.
    """
    setup = setup_named(setup_name)
    if not question.strip():
        raise UsageError("The question is empty.")
    turns = () if history is None else read_history(history)
    values = (
        _ask_server(question, app.config.name, setup.name, server, only, turns)
        if server
        else asyncio.run(_ask_here(app, question, setup.name, only, labels, turns))
    )
    cited = [
        f"[{c['number']}] {c['document_id']}{_page(c.get('page'))} characters {c['start']}-{c['end']}, {c['heading']}"
        for c in values["citations"]
    ]
    if dropped := values.get("passages_dropped"):
        cited.append(f"{counted(dropped, 'passage')} left out: {_TOO_LONG}")
    if refused := values.get("refused"):
        cited.append(f"Refused without asking the model: {refused}")
    if grounding := values.get("grounding"):
        cited.append(f"Grounded: {grounding['grounded']}. {grounding['reason']}")
    if turned := values.get("dropped_turns"):
        cited.append(f"{counted(turned, 'earlier turn')} left out: beyond prompt.history_tokens")
    if (query := values.get("query")) not in (None, question):
        cited.append(f"Searched for: {query}")
    versions = f"index {values['index_version'] or '-'}, model {values['model_version']}, {values['total_ms']:.0f} ms"
    return values, [values["text"], "", *cited, *values["notes"], f"{setup.name}: {versions}"]


def _page(page: int | None) -> str:
    return f" page {page}" if page is not None else ""


async def _ask_here(
    app: Application, question: str, setup_name: str, only: Filter | None, labels: Labels, history: Sequence[Message]
) -> dict[str, Any]:  # fmt: skip
    from ragft.stages.index import live_snapshot
    from ragft.stages.live import engine_of
    from ragft.stages.prompt_choice import served

    setup = served(app, setup_name)
    folder = app.model_folders([setup.name])[setup.model]
    retriever = app.retriever(live_snapshot(app)) if setup.retrieval else None
    engine = engine_of(app, folder, forked=True)  # nothing runs here beside its start
    app.reporter.say(f"Loading the {setup.model} model; a running `ragft serve` answers at once with --server")
    await engine.start()
    try:
        pipeline = Pipeline(app.config, {setup.model: engine}, retriever)
        retrieved = await pipeline.retrieve(setup, question, history=history, filter=only, labels=labels)
        prompt, grounder = pipeline.render(setup, question, retrieved, history=history), Grounder(app.config)
        answer, told = await grounder.answer(pipeline, question, prompt, retrieved)
    finally:
        await engine.close()
    values = asdict(answer) | {"hits": [hit.to_json() for hit in answer.hits]}
    values |= told
    del values["prompt_token_ids"], values["token_ids"]
    return values


def _ask_server(
    question: str, domain: str, setup_name: str, server: str, only: Filter | None, history: Sequence[Message]
) -> dict[str, Any]:
    from openai import NotFoundError, OpenAI, OpenAIError

    client = OpenAI(base_url=f"{server.rstrip('/')}/v1", api_key=os.environ.get("RAGFT_API_KEY", "none"), max_retries=0)
    asked = partial(
        client.chat.completions.create,
        messages=[*history, turn("user", question)],
        extra_body={"ragft": {"filter": only.to_json()}} if only is not None else None,
    )
    try:
        try:
            completion = asked(model=setup_name)
        except NotFoundError:  # so says a server of several domains
            completion = asked(model=f"{domain}/{setup_name}")
    except OpenAIError as error:
        raise RagftError(
            f"{server} did not answer ({error}): start it with `ragft serve`, or leave --server out."
        ) from None
    provenance = (completion.model_extra or {}).get("ragft")
    if provenance is None:
        raise RagftError(f"{server} is an OpenAI-compatible server, but not ragft's.")
    timings = provenance["timings"]
    return {"text": completion.choices[0].message.content or "", **provenance, "total_ms": timings["total_ms"]}
