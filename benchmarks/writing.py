"""`ragft data generate` with a model behind a real vLLM server: its death in the middle, resuming, and batching.

    python benchmarks/writing.py [--model NAME] [--examples 160] [--questions 50] [--json FILE]

vLLM's own server has the packaged model and adds what the structure of five short pages of `examples/lifecycle` does
not give. First the same requests are asked eight and one at a time, each into a workspace of its own. Then the server
is killed as soon as a third of the replies are kept, started again, and the command is given a second time: no reply
that was kept may be asked for again. How good the questions of so small a model are is told by how many pass, and is
no claim about others.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from rich.console import Console
from serving_ttft import free_port, process, raw_command

from ragft.models import resolve_model

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ROOT / "examples" / "lifecycle" / "documents-2026-08-22"
PAGES = ("almalinux.md", "apache-http-server.md", "jquery.md", "ros.md", "twig.md")
FILES = ("examples.jsonl", "questions.jsonl")
CONFIG = ROOT / "configs" / "lifecycle.yaml"
console = Console(highlight=False)


@dataclass
class Desk:
    """A domain whose questions a server's model is to write."""

    folder: Path

    def configure(self, port: int, examples: int, questions: int, concurrency: int) -> None:
        values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        kept = {key: values[key] for key in ("name", "model", "prompt", "answer", "index")}
        kept["index"]["documents"]["folder"] = "documents"
        generate = {
            "by": "both", "examples": examples, "questions": questions, "concurrency": concurrency,
            "max_tokens": 120, "retries": 1, "server": {"url": f"http://127.0.0.1:{port}/v1"},
            "templates": str(ROOT / "examples" / "lifecycle" / "templates.yaml"),
        }  # fmt: skip
        kept |= {"workspace": "out", "data": {"generate": generate}}
        (self.folder / "ragft.yaml").write_text(yaml.safe_dump(kept, allow_unicode=True), encoding="utf-8")

    def build_index(self) -> None:
        (self.folder / "documents").mkdir()
        for page in PAGES:
            shutil.copy(DOCUMENTS / page, self.folder / "documents" / page)
        subprocess.run(self.command("index", "build"), check=True, cwd=self.folder, capture_output=True)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ragft", *words, "-c", str(self.folder / "ragft.yaml")]

    def replies(self) -> int:
        """How many replies are kept, complete lines only."""
        found = list((self.folder / "out").rglob("generated-replies.jsonl"))
        return sum(path.read_bytes().count(b"\n") for path in found)

    def generated(self) -> dict[str, Any]:
        """The command to its end: its status, what it said, seconds, and how many replies it asked for."""
        before, begin = self.replies(), time.perf_counter()
        ended = subprocess.run(self.command("data", "generate"), cwd=self.folder, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        return {"status": ended.returncode, "said": _last(ended.stderr or ended.stdout), "seconds": round(seconds, 1),
                "asked": self.replies() - before}  # fmt: skip


def _last(text: str) -> str:
    return " ".join(text.strip().splitlines()[-6:])


def requests_served(url: str) -> int:
    """How many requests vLLM counts as ended."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:request_success_total")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="as model.base")
    parser.add_argument("--examples", type=int, default=160)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    options = parser.parse_args()
    model, port = resolve_model(options.model), free_port()
    command = raw_command(model, port)
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        first, one, killed = (Desk(Path(name) / part) for part in ("eight", "one", "killed"))
        first.folder.mkdir()
        first.configure(port, options.examples, options.questions, 8)
        first.build_index()
        for desk in (one, killed):
            shutil.copytree(first.folder, desk.folder)
        one.configure(port, options.examples, options.questions, 1)
        told["down"] = killed.generated()
        with process("vLLM", command, port, "raw", "/health") as server:
            for desk in (first, one):
                before = requests_served(server.url)
                told[desk.folder.name] = desk.generated()
                told[desk.folder.name]["served"] = requests_served(server.url) - before
                console.print(desk.folder.name, told[desk.folder.name], markup=False)
            told["report"] = report(first)
            third = first.replies() // 3
            begun = subprocess.Popen(
                killed.command("data", "generate"), cwd=killed.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True,
            )  # fmt: skip
            while killed.replies() < third and begun.poll() is None:
                time.sleep(0.02)
            for member in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
                member.kill()
        said, _ = begun.communicate()
        told["killed"] = {"status": begun.returncode, "said": _last(said), "kept": killed.replies()}
        console.print("killed", told["killed"], markup=False)
        with process("vLLM", command, port, "raw", "/health") as server:
            told["resumed"] = killed.generated()
            told["resumed"]["served"] = requests_served(server.url)
        written = [[(desk.folder / "generated" / part).read_bytes() for part in FILES] for desk in (first, killed)]
        told["same"] = written[0] == written[1]
        console.print("resumed", told["resumed"], told["same"], markup=False)
        console.print(json.dumps(told["report"], indent=1, ensure_ascii=False), markup=False)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")


def report(desk: Desk) -> dict[str, Any]:
    """What the command counted."""
    counted: dict[str, Any] = json.loads((desk.folder / "generated" / "report.json").read_text(encoding="utf-8"))
    return counted


if __name__ == "__main__":
    main()
