"""The packaged encoder, once a session; a small domain on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.domains import Domain

from index.encoders.encoder import Encoder
from ragft.models import resolve_encoder
from ragft.stages.application import Application

PAGES = {
    "node.md": "# Node.js\n\n## Node.js 22\n\nEnd of life: 2027-04-30\n\n## Node.js 24\n\nEnd of life: 2028-04-30\n",
    "mysql.md": "# MySQL\n\n## MySQL 8.0\n\n- End of life: 2026-04-30\n- Latest version: 8.0.36\n",
    "cats.md": "# Cats\n\n## Kittens\n\nA kitten purrs when it is content.\n",
}
EXAMPLES = [
    {"question": "When does Node.js 22 end?", "answer": "2027-04-30 [1]", "sources": ["node.md#Node.js 22"]},
    {"question": "When does Node.js 24 end?", "answer": "2028-04-30 [1]", "sources": ["node.md#Node.js 24"]},
    {"question": "What is the latest MySQL 8.0?", "answer": "8.0.36 [1]", "sources": ["mysql.md#MySQL 8.0"]},
    {"question": "Who wrote MySQL?", "answer": "I do not know."},
]
QUESTIONS = [
    {"id": "q1", "question": "Do kittens purr?", "answers": ["yes"], "sources": ["cats.md#Kittens"]},
    {"id": "q2", "question": "Until when is MySQL 8.0 supported?", "answers": ["2026-04-30"]},
    {"id": "q3", "question": "Who feeds the cats?", "answers": [], "answerable": False},
]


@pytest.fixture(scope="session")
def real_encoder() -> Encoder:
    return Encoder(resolve_encoder("all-minilm-l6-v2"))


@pytest.fixture
def loaded_encoder(monkeypatch: pytest.MonkeyPatch, real_encoder: Encoder) -> None:
    """All applications share one encoder, so that it is loaded once."""
    monkeypatch.setattr(Application, "encoder", real_encoder)


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    """Three pages, four examples and three questions."""
    made = Domain(tmp_path / "desk")
    for name, text in PAGES.items():
        made.page(name, text)
    made.lines("examples.jsonl", EXAMPLES)
    made.lines("questions.jsonl", QUESTIONS)
    made.configure()
    return made
