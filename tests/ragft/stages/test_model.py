"""A merged model names every token that ends an answer, so that any server stops there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragft.stages.model import stop_at


@pytest.mark.parametrize(
    ("generation", "ends"),
    [
        ({"eos_token_id": 2, "do_sample": True}, [2, 7]),
        ({"eos_token_id": [2, 3]}, [2, 3, 7]),
        ({"do_sample": True}, [5, 7]),
        (None, [5, 7]),
        ({"eos_token_id": [7, 2]}, [7, 2]),
    ],
)
def test_end_of_a_turn_is_added_to_the_ends_that_a_model_names(
    tmp_path: Path, generation: dict[str, object] | None, ends: list[int]
) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    path = tmp_path / "generation_config.json"
    if generation is not None:
        path.write_text(json.dumps(generation))
    stop_at(tmp_path, 7)
    assert json.loads(path.read_text()) == {**(generation or {}), "eos_token_id": ends}
