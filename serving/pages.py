"""What the pages that are served have in common: what the browser may do on them, and their files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Request, Response

WEB = Path(__file__).with_name("web")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """A script or style of a page, read once, so that no path of a request reaches the file system."""

    content: bytes
    kind: str
    tag: str

    @classmethod
    def of(cls, content: bytes, kind: str) -> PageFile:
        return cls(content, kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"')

    def response(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """The file, or that the browser has it already."""
        headers = {**HEADERS, "etag": self.tag}
        if request.headers.get("if-none-match") == self.tag:
            return Response(b"", status_code=304, headers=headers)
        return Response(self.content, media_type=self.kind, headers=headers)


def scripts(folder: Path) -> dict[str, PageFile]:
    """The scripts in a folder by their names."""
    return {file.name: PageFile.of(file.read_bytes(), "text/javascript") for file in sorted(folder.glob("*.js"))}
