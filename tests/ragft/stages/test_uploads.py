"""Documents that come through the endpoint, as files: read while others write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.serving import make_application

from ragft.stages.application import Application
from ragft.stages.uploads import FOLDER, UnknownDocument, put, uploads


@pytest.fixture
def application(tmp_path: Path) -> Application:
    (tmp_path / "documents").mkdir()
    made = make_application(tmp_path, {"documents": {"folder": tmp_path / "documents"}}, documents=True)
    for name in ("cats", "dogs"):
        put(made, name, "md", b"They travel free.")
    return made


def test_a_document_that_is_deleted_while_all_are_listed_is_left_out(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def then_deleted(self: Path) -> Iterator[Path]:
        names = list(listed(self))
        (self / "cats.md").unlink()
        return iter(names)

    monkeypatch.setattr(Path, "iterdir", then_deleted)
    assert [upload.id for upload in uploads(application)] == ["dogs"]


def test_a_document_that_is_deleted_while_it_is_asked_for_was_there_or_is_not(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Path.stat

    def then_deleted(self: Path, **options: Any) -> os.stat_result:
        told = looked(self, **options)
        if self.name == "cats.md":
            self.unlink()
        return told

    monkeypatch.setattr(Path, "stat", then_deleted)
    (found,) = uploads(application, "cats")
    assert (found.document, found.size) == (f"{FOLDER}/cats.md", 17)
    with pytest.raises(UnknownDocument):
        uploads(application, "cats")
