"""Reads files in a separate process, so that a hostile file that hangs, crashes or exhausts it does no harm.

Parsers of HTML, PDF and DOCX are native code: no exception or signal handler of Python can stop one that loops, and a
crash takes its process along. One child process reads all files, and only if it dies is another one started, so a file
costs a few copies of its bytes and not the start of an interpreter. The child's processor time is limited, not wall
time, so that a loaded machine does not make good files unreadable. The two exchange JSON, never pickles.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from index.documents.document import Document, Skipped, from_json, to_json
from index.documents.formats import format_of
from index.documents.formats.settings import (
    Fields,
    FileFields,
    Limits,
    OcrSettings,
    ReadSettings,
    Unreadable,
    damage,
)

if TYPE_CHECKING:
    from index.documents.formats.pdf.recognition import RecognisedPage

_CHILD = """
import sys, types
# Without the package's `__init__`, which imports the whole index, the child starts in a tenth of the time.
sys.modules["index"] = package = types.ModuleType("index")
package.__path__ = [sys.argv[2]]
from index.documents.formats.process import serve
serve()
"""

_LENGTHS = struct.Struct("<QQ")
_PATIENCE, _GRACE = 10, 60
"""How long the parent waits for a file: a multiple of the limit of processor time, plus seconds on top."""
_RUNS_OF_TESSERACT = 3
"""How often tesseract is run for a page: to read it, to tell how it is turned, and to read it upright."""


class ReaderProcess:
    """A child process that reads files one after the other; started for the first file."""

    def __init__(self, settings: ReadSettings) -> None:
        self._settings = settings
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self._child is not None:
            self._end(self._child)

    def read(
        self, name: str, data: bytes, recognised: Sequence[RecognisedPage] | None = None
    ) -> list[Document | Skipped]:
        """What the reader of the file's format returns.

        Args:
            recognised: for a PDF, what was recognised on its scanned pages.

        Raises:
            Unreadable: the reader raised it, exceeded a limit, or crashed.
        """
        pages = None if recognised is None else [page.to_json().decode() for page in recognised]
        (items,) = self._replies({"name": name, "recognised": pages}, data, 1, self._patience)
        return from_json(items)

    def recognise(self, data: bytes, numbers: Sequence[int]) -> Iterator[RecognisedPage]:
        """Read pages of a PDF by character recognition; one at which the child fails is a failed page.

        Args:
            numbers: of the pages, from 1, in ascending order.
        """
        from index.documents.formats.pdf.recognition import RecognisedPage

        left, is_alone = list(numbers), False
        # Pictures of pages are handed over in files, which nobody else may read and no crash may leave behind.
        with tempfile.TemporaryDirectory(prefix="ragft-", ignore_cleanup_errors=True) as folder:
            while left:
                # Pages are worked on ahead. If the child fails, it does so again for the page that it fails at.
                asked = left[:1] if is_alone else list(left)
                patience = _RUNS_OF_TESSERACT * self._settings.ocr.seconds_per_page + self._patience
                try:
                    for reply in self._replies({"recognise": asked, "folder": folder}, data, len(asked), patience):
                        left.pop(0)
                        yield RecognisedPage.from_json(reply)
                    is_alone = False
                except Unreadable as error:
                    if len(asked) == 1:
                        yield RecognisedPage.failed(left.pop(0), str(error))
                    is_alone = len(asked) > 1

    @property
    def _patience(self) -> float:
        return _PATIENCE * self._settings.limits.seconds + _GRACE

    def _replies(self, request: Mapping[str, Any], data: bytes, count: int, patience: float) -> Iterator[bytes]:
        """What the child answers to a request, in so many parts.

        Args:
            patience: seconds to wait for each part.

        Raises:
            Unreadable: the child says so, exceeded a limit, or crashed.
        """
        child = self._child = self._child or _start(self._settings)
        is_done = False
        try:
            for part in range(count):
                timer = threading.Timer(patience, child.kill)
                timer.start()
                try:
                    assert child.stdin is not None and child.stdout is not None  # noqa: S101, both are pipes
                    if part == 0:
                        _send(child.stdin, json.dumps(request, ensure_ascii=False).encode(), data)
                    reply = _receive(child.stdout)
                except OSError:  # the child died before it had received the whole file
                    reply = None
                finally:
                    timer.cancel()
                is_done = part == count - 1
                if reply is None:
                    raise Unreadable(self._end(child))
                reason, content = reply
                if reason:
                    is_done = True
                    raise Unreadable(reason.decode())
                yield content
        finally:
            if not is_done and self._child is child:  # its other answers would be taken for those to the next request
                child.kill()
                self._end(child)

    def _end(self, child: subprocess.Popen[bytes]) -> str:
        """Wait for a child to end, and kill it if it does not; return how it ended, in words."""
        self._child = None
        for pipe in filter(None, (child.stdin, child.stdout)):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            status = child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
        if status == -signal.SIGPROF:
            return f"reading it takes more than {self._settings.limits.seconds:g} seconds"
        if status == -signal.SIGKILL:
            return "its reader was killed because it ran out of time or memory"
        return f"its reader crashed ({signal.Signals(-status).name if status < 0 else f'exit status {status}'})"


def _start(settings: ReadSettings) -> subprocess.Popen[bytes]:
    package = str(Path(__file__).parents[2])
    command = [sys.executable, "-P", "-c", _CHILD, json.dumps(asdict(settings)), package]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def serve() -> None:
    """Read files for the parent until it closes the pipe; the main function of the child."""
    settings = _settings(json.loads(sys.argv[1]))
    requests = sys.stdin.buffer
    # Output of native libraries must not get between the replies, so it goes to standard error.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory(settings.limits.memory_bytes)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while (request := _receive(requests)) is not None:
        signal.setitimer(signal.ITIMER_PROF, settings.limits.seconds)
        for reason, content in _answers(json.loads(request[0]), request[1], settings):
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(replies, reason.encode("utf-8", "replace"), content)
            signal.setitimer(signal.ITIMER_PROF, settings.limits.seconds)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _settings(content: Mapping[str, Any]) -> ReadSettings:
    """What `asdict` made of the settings, as far as readers look at it."""

    def fields(values: Mapping[str, Any]) -> Fields:
        metadata = values["metadata"]
        return Fields(**{**values, "metadata": None if metadata is None else tuple(metadata)})

    by_file = tuple(FileFields(item["files"], fields(item["fields"])) for item in content["fields_by_file"])
    ocr = OcrSettings(**content["ocr"] | {"languages": tuple(content["ocr"]["languages"])})
    return ReadSettings(
        fields=fields(content["fields"]), fields_by_file=by_file, limits=Limits(**content["limits"]), ocr=ocr
    )


def _answers(request: Mapping[str, Any], data: bytes, settings: ReadSettings) -> Iterator[tuple[str, bytes]]:
    """The reason why a file is unreadable, or an empty one, and what was read: the serialised documents, or one page
    after the other."""
    try:
        if request.get("recognise"):
            from index.documents.formats.pdf.recognition import recognised_pages

            for page in recognised_pages(data, request["recognise"], settings.ocr, request["folder"]):
                yield "", page.to_json()
        else:
            yield "", to_json(_read(request["name"], data, settings, request["recognised"]))
    except Unreadable as error:
        yield str(error), b""
    except MemoryError:
        yield f"reading it takes more than {settings.limits.memory_bytes // 2**20} MB of memory", b""
    except ImportError as error:
        yield f"its reader needs the package {error.name}; install ragft with the extra `index`", b""
    except Exception as error:  # parsers raise anything on malformed files
        yield damage(error), b""


def _read(
    name: str, data: bytes, settings: ReadSettings, recognised: Sequence[str] | None
) -> list[Document | Skipped]:  # fmt: skip
    if recognised is not None:
        from index.documents.formats.pdf.file import read
        from index.documents.formats.pdf.recognition import RecognisedPage

        return read(name, data, settings, [RecognisedPage.from_json(page) for page in recognised])
    kind = format_of(name)
    if kind is None:
        raise Unreadable("not a supported format")
    return kind.read(name, data, settings)


def _limit_memory(allowance: int) -> None:
    """Let this process allocate this many bytes beyond what it holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    limit = pages * resource.getpagesize() + allowance
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _send(pipe: IO[bytes], head: bytes, body: bytes) -> None:
    pipe.writelines((_LENGTHS.pack(len(head), len(body)), head, body))
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Head and body of a message; None if the other side is gone."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    first, second = _LENGTHS.unpack(lengths)
    head, body = pipe.read(first), pipe.read(second)
    return (head, body) if len(head) + len(body) == first + second else None
