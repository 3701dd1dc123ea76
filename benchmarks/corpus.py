"""Reads and cuts a real corpus: Debian's packages of documentation, thousands of HTML files.

    python benchmarks/corpus.py                                          # downloads and unpacks with apt and dpkg
    python benchmarks/corpus.py --packages git-doc --limit 200 --embed   # a part of it, with vectors
    python benchmarks/corpus.py --folder some/documents                  # any other folder

Prints files, documents, characters, passages, repetitions, what was skipped by reason, processor time of each step
(readers in child processes included), wall time inside the building of the index, and peak memory; with `--json` as
JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from index import Encoder, ReadSettings, chunk_document, read_documents, refresh
from index.documents.document import Document, Skipped
from index.documents.formats import FORMATS
from index.search.duplicates import find_duplicates
from ragft.models import resolve_encoder

PACKAGES = ("linux-doc-6.1", "python3.11-doc", "postgresql-doc-15", "git-doc")


def unpacked(packages: list[str], work: Path) -> Path:
    """The documentation of these packages in one folder; downloaded once."""
    target = work / "-".join(packages)
    if not target.exists():
        downloads = Path(tempfile.mkdtemp(dir=work))
        subprocess.run(["apt-get", "download", *packages], cwd=downloads, check=True, capture_output=True)
        growing = Path(tempfile.mkdtemp(dir=work))
        for package in downloads.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(growing)], check=True)
        growing.rename(target)
    return target / "usr" / "share"


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def peak_mib(who: int) -> int:
    return resource.getrusage(who).ru_maxrss // 1024


def measure(folder: Path, encoder_name: str, limit: int | None, embed: bool) -> dict[str, Any]:
    """One run over a folder."""
    seconds: dict[str, float] = {}
    of_index: dict[str, float] = {}
    start = cpu_seconds()

    def step(name: str) -> None:
        nonlocal start
        now = cpu_seconds()
        seconds[name] = round(now - start, 2)
        start = now

    settings = ReadSettings(include=tuple(f"*{suffix}" for suffix in FORMATS))
    documents, skipped = read_documents(folder, settings)
    step("read")
    encoder = Encoder(resolve_encoder(encoder_name))
    tokenizer = encoder.tokenizer
    step("load the encoder")
    documents = documents[:limit]
    chunks = [chunk for document in documents for chunk in chunk_document(document, tokenizer, encoder.max_tokens)]
    step("chunk")
    repeated = find_duplicates(chunks)
    step("find repetitions")
    if embed:
        with tempfile.TemporaryDirectory() as temporary:
            source = Path(temporary) / "documents"
            write_as_text(documents, source)
            report = refresh(Path(temporary) / "index", source, encoder)
            of_index = {name: round(value, 2) for name, value in report.seconds.items()}
        step("index")
    return {
        "files": sum(path.is_file() for path in folder.rglob("*")),
        "documents": len(documents),
        "formats": Counter(Path(document.id).suffix for document in documents),
        "characters": sum(len(document.text) for document in documents),
        "passages": len(chunks),
        "repeated_passages": repeated.superfluous,
        "near_groups": len(repeated.near),
        "skipped": by_reason(skipped),
        "cpu_seconds": seconds,
        "index_wall_s": of_index,
        "peak_mib": {"this process": peak_mib(resource.RUSAGE_SELF), "readers": peak_mib(resource.RUSAGE_CHILDREN)},
    }


def write_as_text(documents: list[Document], target: Path) -> None:
    """The extracted texts as files, so that a part of a corpus can be indexed."""
    target.mkdir()
    for number, document in enumerate(documents):
        suffix = ".md" if document.is_markdown else ".txt"
        (target / f"{number:06d}{suffix}").write_text(document.text, encoding="utf-8")


def by_reason(skipped: list[Skipped]) -> dict[str, int]:
    """How many files were skipped for the same reason; numbers and what stands in brackets are left out of it."""
    return Counter(re.sub(r"\d+", "N", item.reason.split(" (")[0]) for item in skipped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", nargs="+", default=list(PACKAGES), help="Debian packages to read")
    parser.add_argument("--folder", type=Path, help="any other folder of documents instead")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ragft-corpus", help="for downloads")
    parser.add_argument("--encoder", default="all-minilm-l6-v2", help="whose tokenizer and window are used")
    parser.add_argument("--limit", type=int, help="documents to cut and embed; default: all")
    parser.add_argument("--embed", action="store_true", help="build an index of them too")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    figures = measure(asked.folder or unpacked(asked.packages, asked.work), asked.encoder, asked.limit, asked.embed)
    if asked.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        shown = ", ".join(f"{key}: {item}" for key, item in value.items()) if isinstance(value, dict) else value
        print(f"{name:18} {shown}")


if __name__ == "__main__":
    main()
