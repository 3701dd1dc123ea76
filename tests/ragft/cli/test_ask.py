"""`ragft ask` behind earlier turns, with stand-ins for index and engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluated import evaluated

from ragft.cli.ask import ask_once
from ragft.errors import UsageError
from ragft.stages import index


def test_a_question_behind_earlier_turns_is_searched_and_asked_as_at_the_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated(tmp_path, monkeypatch)
    monkeypatch.setattr(index, "live_snapshot", run.snapshot)
    turns = [{"role": "user", "content": "When does Node.js 22 end?"}, {"role": "assistant", "content": "2027."}]
    history = tmp_path / "turns.json"
    history.write_text(json.dumps(turns))
    values, lines = ask_once(run.application(), "And MySQL?", "hybrid", None, None, None, history)
    assert values["query"] == run.retriever.asked[-1][0] == "When does Node.js 22 end? And MySQL?"
    assert "Searched for: When does Node.js 22 end? And MySQL?" in lines
    assert run.engines[0].requests[0].messages[1:3] == turns
    app = run.application(prompt={"history_tokens": 0})
    assert "2 earlier turns left out: beyond prompt.history_tokens" in ask_once(
        app, "And?", "hybrid", None, None, None, history
    )[1]  # fmt: skip
    history.write_text(json.dumps(turns[:1]))
    with pytest.raises(UsageError, match="ends with the user's turn"):
        ask_once(run.application(), "And MySQL?", "hybrid", None, None, None, history)
