"""How long character recognition takes is said beforehand, once, and only if it is long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.domains import Quiet, application
from support.indexes import HashEncoder, WordTokenizer
from support.scans import FakeTesseract, needs_wrapper, scan

from ragft.config import Config
from ragft.console import Advance, duration
from ragft.stages.application import Application
from ragft.stages.index import refresh
from ragft.stages.reading import read
from ragft.stages.recognition import recognition_line, recognition_progress


class Told(Quiet):
    """Remembers the bars that begin and end, too."""

    @contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        self.said.append(f"begin {title}")
        yield lambda done, total, note="": None
        self.said.append(f"end {title}")


@pytest.mark.parametrize("seconds", [None, 20.0])
def test_short_recognition_is_not_announced(seconds: float | None) -> None:
    told = Told()
    with told.phases() as phase:
        advance = recognition_progress(told, phase)
        advance(0, 10, seconds)
        advance(4, 10, seconds)
    assert told.said == ["begin Recognising pages", "end Recognising pages"]


def test_long_recognition_is_announced_once_as_soon_as_its_time_is_known() -> None:
    told = Told()
    with told.phases() as phase:
        advance = recognition_progress(told, phase)
        for done, seconds in ((0, None), (4, 400.0), (5, 300.0)):
            advance(done, 204, seconds)
    (line,) = [line for line in told.said if "will take" in line]
    assert line.startswith("Recognising 200 scanned pages will take about 7 minutes, as measured here")


def test_phases_end_one_another() -> None:
    told = Told()
    with told.phases() as phase:
        for title in ("a", "a", "b"):
            phase(title)(1, 2, "")
    assert told.said == ["begin a", "end a", "begin b", "end b"]


def test_times_are_said_in_words() -> None:
    assert "a few seconds a page" in recognition_line(3, None)
    assert [duration(seconds) for seconds in (0.5, 40, 180, 7200)] == [
        "less than a second", "about 40 s", "about 3 minutes", "about 2.0 hours",
    ]  # fmt: skip


@pytest.mark.medium
@needs_wrapper
def test_files_are_shown_with_confidence_and_what_was_recognised_serves_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tesseract = FakeTesseract.install(tmp_path / "programs", monkeypatch)
    monkeypatch.setattr(Application, "encoder", property(lambda app: HashEncoder(WordTokenizer())))
    monkeypatch.setattr(Application, "model_tokenizer", None)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.pdf").write_bytes(scan(["One."], ["Two."]))
    documents = {"folder": tmp_path / "documents", "ocr": {"enabled": True}}
    app = application(
        Config.model_validate({"name": "desk", "workspace": tmp_path / "w", "index": {"documents": documents}})
    )
    refresh(app)
    (document,) = read(app, [tmp_path / "documents" / "a.pdf"]).to_json()["documents"]
    assert document["metadata"] == {"ocr_pages": "1-2", "ocr_confidence": 0.9, "ocr_lowest_confidence": 0.9}
    assert len(app.documents[0]) == 1 and tesseract.runs == 2
