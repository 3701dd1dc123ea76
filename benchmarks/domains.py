"""Two domains of real text, ready to run: PubMedQA and ClapNQ as ragft domains, and the comparison of the four setups.

    python benchmarks/domains.py pubmedqa --data FOLDER                writes the domain into workspace/domains/pubmedqa
    python benchmarks/domains.py clapnq --data FOLDER --run            and trains and compares in it
    python benchmarks/domains.py pubmedqa --data FOLDER --run --set recipe=short

FOLDER holds `pubmedqa/train.jsonl`, and `clapnq/answerable.jsonl` and `clapnq/unanswerable.jsonl`; where they are
absent, the script says so and does nothing. The configurations are in `benchmarks/domains/`. Documents that are asked
about and documents that are trained on are apart, by a seeded split: by abstract for PubMedQA, by article for ClapNQ.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ragft.config import load_config
from ragft.data.jsonl import to_lines
from ragft.errors import UsageError
from ragft.evaluate.metrics import Measure
from ragft.evaluate.prompt_choice import told

HERE = Path(__file__).resolve().parent
CONFIGS = HERE / "domains"
SHARED = HERE.parent.parent / "shared" / "data"
ASKED_SHARE = 0.4
_NUMBER = r"\(?\d{1,2}[.)]\s+"  # of a conclusion that is a list
_NEXT_SENTENCE = re.compile(rf"(?<=[.!?])\s+(?:{_NUMBER})?(?=[A-Z])")


@dataclass(frozen=True)
class Item:
    """A question with its document.

    Attributes:
        kind: what the split keeps the shares of, and the tag.
        group: items of one group are on one side of the split.
        document: Markdown.
        answer: in the house format, with `[1]` for the document; the refusal where there is no answer.
        golds: right values; empty where the document holds none.
    """

    id: str
    kind: str
    group: str
    question: str
    document: str
    answer: str
    golds: tuple[str, ...]

    @property
    def file(self) -> str:
        return f"{self.id}.md"

    @property
    def sources(self) -> list[str]:
        return [self.file] if self.golds else []

    def to_example(self) -> dict[str, Any]:
        return {
            "id": self.id, "question": self.question, "answer": self.answer, "sources": self.sources,
            "group": self.group, "tags": [self.kind],
        }  # fmt: skip

    def to_question(self) -> dict[str, Any]:
        return {
            "id": self.id, "question": self.question, "answers": list(self.golds), "sources": self.sources,
            "answerable": bool(self.golds), "group": self.group, "tags": [self.kind],
        }  # fmt: skip


@dataclass(frozen=True)
class Domain:
    """A data set as a domain.

    Attributes:
        read: its items, from the folder of the data set.
        needs: the files of that folder.
        shown: metrics of the comparison that tell something here.
        published: figures of others, in percent, with what they are.
    """

    name: str
    read: Callable[[Path], list[Item]]
    needs: tuple[str, ...]
    shown: tuple[str, ...]
    published: Mapping[str, float]

    @property
    def config(self) -> Path:
        return CONFIGS / f"{self.name}.yaml"

    def missing(self, data: Path) -> list[Path]:
        """Files of the data set that are not there."""
        return [path for name in self.needs if not (path := data / self.name / name).is_file()]


def pubmedqa(folder: Path) -> list[Item]:
    """The conclusion is not in the abstract, so the first sentence of it is what the model has to come to."""
    return [
        Item(
            row["id"], row["decision"], row["id"], row["question"], _abstract(row),
            f"Conclusion: {first_sentence(row['long_answer'])} [1]\nAnswer: {row['decision']}", (row["decision"],),
        )
        for row in _rows(folder / "train.jsonl")
    ]  # fmt: skip


def clapnq(folder: Path) -> list[Item]:
    """Answers are sentences; of several the shortest is trained, and all count as right."""
    refusal = load_config(DOMAINS["clapnq"].config).answer.refusal
    items = []
    for row in [*_rows(folder / "answerable.jsonl"), *_rows(folder / "unanswerable.jsonl")]:
        (passage,) = row["passages"]
        golds = tuple(text for output in row["output"] if (text := tidy(output["answer"])))
        title = tidy(passage["title"])
        items.append(
            Item(
                row["id"], "answerable" if golds else "unanswerable", title.casefold(), tidy(row["input"]),
                f"# {title}\n\n{tidy(passage['text'])}\n", f"Answer: {min(golds, key=len)} [1]" if golds else refusal,
                golds,
            )
        )  # fmt: skip
    return items


DOMAINS = {
    "pubmedqa": Domain(
        "pubmedqa", pubmedqa, ("train.jsonl",),
        ("choice_accuracy", "false_refusal", "format_validity", "retrieval_hit", "citation_precision"),
        {
            "majority class": 55.2,
            "Llama-3-8B alone (RAG Foundry)": 56.0,
            "Llama-3-8B with context (RAG Foundry)": 55.6,
            "Llama-3-8B tuned, with context (RAG Foundry)": 77.0,
        },
    ),
    "clapnq": Domain(
        "clapnq", clapnq, ("answerable.jsonl", "unanswerable.jsonl"),
        ("rouge_l", "token_f1", "exact_match", "abstention", "false_refusal", "format_validity", "retrieval_hit",
         "citation_precision"),
        {},
    ),
}  # fmt: skip


def first_sentence(text: str) -> str:
    """The first sentence of a text without its number."""
    return _NEXT_SENTENCE.split(re.sub(rf"\A{_NUMBER}", "", tidy(text)))[0]


def tidy(text: str) -> str:
    """One line, with the quotation marks that tokenisers wrote as `` and '' as they were."""
    return " ".join(text.replace("``", '"').replace("''", '"').split())


def split(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Items to train on and items to ask, each in the given order; a group is on one side, kinds have their shares."""
    kind_of: dict[str, str] = {}
    for item in items:
        kind_of.setdefault(item.group, item.kind)
    draw, asked = random.Random(seed), set[str]()
    for kind in sorted(set(kind_of.values())):
        groups = sorted(group for group, of in kind_of.items() if of == kind)
        asked |= set(draw.sample(groups, round(share * len(groups))))
    return [i for i in items if i.group not in asked], [i for i in items if i.group in asked]


def write(domain: Domain, data: Path, folder: Path, seed: int = 0, share: float = ASKED_SHARE) -> Path:
    """Writes documents, examples, questions and configuration, and returns the configuration's path.

    What an earlier call wrote is replaced; the workspace, with what was trained, stays.

    Raises:
        UsageError: the folder holds something else.
    """
    config = folder / "ragft.yaml"
    is_ours = config.is_file() and f"name: {domain.name}\n" in config.read_text(encoding="utf-8")
    if not is_ours and folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds something else than the domain {domain.name}: name another folder with --to.")
    items = domain.read(data / domain.name)
    trained, asked = split(items, share, seed)
    for name, part in (("documents", items), ("training-documents", trained)):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        for item in part:
            (folder / name / item.file).write_text(item.document, encoding="utf-8")
    (folder / "examples.jsonl").write_bytes(to_lines(item.to_example() for item in trained))
    (folder / "questions.jsonl").write_bytes(to_lines(item.to_question() for item in asked))
    shutil.copyfile(domain.config, config)
    return config


def run(config: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Indexes, trains, merges, proves and compares; returns the comparison."""
    options = ["-c", str(config), *(part for one in overrides for part in ("--set", one))]
    command = [sys.executable, "-m", "ragft"]
    if failed := subprocess.run([*command, "run", *options], check=False).returncode:
        sys.exit(failed)
    told = subprocess.run([*command, "evaluate", "--json", *options], stdout=subprocess.PIPE, text=True, check=True)
    comparison: dict[str, Any] = json.loads((Path(json.loads(told.stdout)["folder"]) / "comparison.json").read_text())
    return comparison


def show(domain: Domain, comparison: Mapping[str, Any], console: Console) -> None:
    """Prints what tells something in this domain, beside the figures of others; then the verdict and its causes."""
    setups: Mapping[str, Mapping[str, Mapping[str, Any]]] = comparison["setups"]
    table = Table(f"{domain.name}, {comparison['questions']} questions", *setups)
    for metric in domain.shown:
        table.add_row(metric, *(_figure(scores.get(metric)) for scores in setups.values()))
    classes = comparison.get("classification") or {}
    if classes:
        table.add_row("macro F1", *(f"{100 * classes[name]['macro_f1']:.1f} %" for name in setups))
        golds = Counter({gold: sum(row.values()) for gold, row in next(iter(classes.values()))["confusion"].items()})
        (name, count), total = golds.most_common(1)[0], golds.total()
        table.caption = f"Always {name!r} would be right in {100 * count / total:.1f} % of these questions."
    console.print(table)
    for name, percent in domain.published.items():
        console.print(f"published: {name}: {percent:.1f} %", markup=False)
    if domain.published:
        console.print("Those are of the test questions of the data set, which these are not: compare the direction.")
    console.print(comparison["verdict"]["text"], markup=False)
    for setup, choice in comparison["prompts"].items():
        console.print(told(setup, choice, Measure(**comparison["decides"])), markup=False)
    for setup, causes in comparison["causes"].items():
        for cause in causes[:2]:
            console.print(f"{setup}: {cause['text']}", markup=False)


def _figure(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["mean"] is None:
        return "-"
    mean, low, high = (None if estimate[key] is None else 100 * estimate[key] for key in ("mean", "low", "high"))
    return f"{mean:.1f} %" if low is None or high is None else f"{mean:.1f} % ({low:.1f} to {high:.1f})"


def _abstract(row: Mapping[str, Any]) -> str:
    """The parts of an abstract, each behind its label; no title, which would be the question again."""
    parts = [f"{label.capitalize()}: {tidy(text)}" for label, text in zip(row["labels"], row["contexts"], strict=True)]
    return "\n\n".join([f"# PubMed {row['id']}", *parts]) + "\n"


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", choices=DOMAINS)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of the data sets")
    parser.add_argument("--to", type=Path, help="folder of the domain; default: workspace/domains/NAME")
    parser.add_argument("--run", action="store_true", help="train and compare, too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of ragft; with --run")
    parser.add_argument("--json", type=Path, help="write the comparison there too; with --run")
    options = parser.parse_args()
    domain, console = DOMAINS[options.domain], Console(highlight=False, width=140)
    if missing := domain.missing(options.data):
        console.print(f"Skipped: {domain.name} needs {missing[0]}, which is not there: name its folder with --data.")
        return
    folder = options.to or Path("workspace/domains") / domain.name
    try:
        config = write(domain, options.data, folder)
    except UsageError as error:
        sys.exit(str(error))
    console.print(f"{config} is ready: try `ragft data audit -c {config}`, or --run.", markup=False)
    if options.run:
        comparison = run(config, options.set)
        show(domain, comparison, console)
        if options.json:
            options.json.write_text(json.dumps(comparison, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
