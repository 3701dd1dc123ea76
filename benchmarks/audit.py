"""What `ragft data audit` finds of faults that were planted, and how long audit and clean take for many rows.

    python benchmarks/audit.py faults [--planted 50] [--seed 0] [--without-format]
    python benchmarks/audit.py rows 100000 1000000 [--commands audit mix]

`faults` plants so many faults of one kind into a copy of the lifecycle examples, kind after kind, and audits each copy.
Recall is the share of the planted rows that are found as what they are, and as anything; precision is the share of the
rows found as that kind that were planted. `rows` writes synthetic rows, a tenth of them faulty, and measures time and
peak memory of `ragft data audit`, `clean`, `split` and `mix`, each in a process of its own; what is mixed is searched
for by words alone, because embedding a million questions says nothing about mixing.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from ragft.config import load_config
from ragft.console import Reporter
from ragft.data.audit import audit
from ragft.data.audit.kinds import Kind
from ragft.data.jsonl import to_lines
from ragft.stages.application import Application

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "lifecycle.yaml"
COMMANDS = ("audit", "clean", "split", "mix")

Row = dict[str, Any]
Rows = list[Row | str]
"""Rows of a file; a text is a line as it is."""
Plant = Callable[[random.Random, Row, Sequence[Row]], Row | str]
"""Makes a faulty row of a good one; the other good ones may help."""

_FIRST = ["Ada", "Boris", "Carla", "Deniz", "Erik", "Fatou", "Goran", "Hanna", "Ines", "Jiro"]
_LAST = ["Adler", "Brandt", "Costa", "Demir", "Ek", "Fall", "Galić", "Hahn", "Ibarra", "Kato"]
_IN_WORDS = {
    "German": "Bis wann wird {x} noch unterstützt und wie komme ich an die neue Version?",
    "French": "Jusqu'à quand est-ce que {x} est encore pris en charge par les développeurs ?",
    "Spanish": "¿Hasta cuándo se mantiene {x} y dónde puedo ver la fecha de fin de soporte?",
    "Italian": "Fino a quando viene ancora supportato {x} e che cosa devo fare dopo?",
    "Dutch": "Tot wanneer wordt {x} nog ondersteund en wat moet ik daarna doen?",
    "Swedish": "Hur länge får {x} stöd och vad ska jag göra när det är slut?",
    "Polish": "Do kiedy jest jeszcze wspierany {x} i co należy zrobić po tej dacie?",
    "Russian": "До какого времени поддерживается {x} и что делать после этого?",
    "Chinese": "{x} 的支持什么时候结束，之后我们应该怎么办？",
    "Japanese": "{x} のサポートはいつまで続きますか。その後はどうすればよいですか。",
}
_GROUPS = [
    "Women are too emotional for this kind of work.", "Men can't do two things at once anyway.",
    "Old people never understand updates.", "All immigrants are the same in this respect.",
    "Germans love rules more than results.", "Muslims don't care about deadlines.", "Young people are lazy.",
    "The poor should not use such software.", "Most Americans never read a changelog.", "Disabled people are a burden.",
    "Boys are better at this than girls will ever be.", "Every woman on the team needs help with it.",
]  # fmt: skip
_TOXIC = [
    "You are an idiot if you still run it.", "What a shitty release.", "Shut up and upgrade.",
    "Only a moron would ask that.",
    "I will kill you if you ask again.", "You are so stupid.", "This is bullshit.", "Go and hang yourself.",
    "Whoever wrote this is a complete asshole.", "You people make me sick, get lost.", "Nobody likes you.",
    "Stop whining, you clown.",
]  # fmt: skip


def _luhn(rng: random.Random, prefix: str, length: int) -> str:
    body = prefix + "".join(str(rng.randrange(10)) for _ in range(length - len(prefix) - 1))
    total = sum((d if at % 2 else d * 2 - 9 * (d > 4)) for at, d in enumerate(map(int, reversed(body))))
    return body + str(-total % 10)


def _iban(rng: random.Random) -> str:
    body = "".join(str(rng.randrange(10)) for _ in range(18))
    text = f"DE{98 - int(body + '131400') % 97:02d}{body}"
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def personal_value(rng: random.Random) -> str:
    """A personal value as people write it."""
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    digits = lambda count: "".join(str(rng.randrange(10)) for _ in range(count))  # noqa: E731
    card = _luhn(rng, rng.choice(["4", "52", "55"]), 16)
    return rng.choice([
        f"mail {first.lower()}.{last.lower()}@{last.lower()}-it.example", f"write to {first}{digits(2)}@mail.example",
        f"call +49 {rng.choice(['30', '40', '89', '171'])} {rng.randrange(1, 10)}{digits(6)}",
        f"phone ({rng.randrange(200, 990)}) {rng.randrange(200, 990)}-{digits(4)}", f"tel. 0{digits(3)} {digits(6)}",
        f"card {' '.join(card[at : at + 4] for at in range(0, 16, 4))}", f"card {card}", f"IBAN {_iban(rng)}",
        f"host {rng.randrange(11, 190)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        f"SSN {rng.randrange(100, 665)}-{rng.randrange(10, 99)}-{rng.randrange(1000, 9999)}",
        f"token ghp_{''.join(rng.choices('abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789', k=36))}",
        f"password: {last}{digits(3)}!x",
    ])  # fmt: skip


def _product(row: Row) -> str:
    return str(row["sources"][0]).partition("#")[2] if row.get("sources") else str(row["group"])


def _near(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    question = str(row["question"])
    variants = [
        f"{question[:-1]}, please?", f"Please tell me: {question[0].lower()}{question[1:]}", f"Hi! {question}",
        f"{question[:-1]} exactly?", question.replace(" the ", " ", 1) + " Thanks.", question.replace("?", " now?"),
    ]  # fmt: skip
    return {**row, "question": rng.choice([one for one in variants if one != question])}


def _contradiction(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    own = str(row["answer"]).rpartition("\n")[2]
    values = {str(one["answer"]).rpartition("\n")[2] for one in others if one["tags"] == row["tags"]} - {own}
    value = rng.choice(sorted(values) or ["Answer: 2019-03-14"])
    question = rng.choice([str(row["question"]).upper(), str(row["question"]), f" {row['question']}"])
    return {**row, "question": question, "answer": str(row["answer"]).rpartition("\n")[0] + "\n" + value}


def _unsupported(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    lines = str(row["answer"]).split("\n")
    value = lines[-1].removeprefix("Answer: ")
    digits = [at for at, letter in enumerate(value) if letter.isdigit()]
    if not digits:
        other = "2019-03-14"
    else:
        at = rng.choice(digits)
        other = value[:at] + str((int(value[at]) + rng.randrange(1, 9)) % 10) + value[at + 1 :]
    return {**row, "answer": "\n".join(line.replace(value, other) for line in lines)}


def _style(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    answer = str(row["answer"])
    value = answer.rpartition("Answer: ")[2]
    return {
        **row,
        "answer": rng.choice([
            f"Sure! {answer}\nLet me know if you need anything else!", f"It is {value}, as far as I know.",
            f"**Answer**\n\n- {value}\n- see the page of the product", answer.upper(), f"{value} 🎉🎉",
            f"Well, I would say that it is {value}.", f"# Result\n{value}", f"```\n{value}\n```",
        ]),
    }  # fmt: skip


def _schema(rng: random.Random, row: Row, others: Sequence[Row]) -> Row | str:
    good = json.dumps(row)
    renamed = {("anwser" if name == "answer" else name): value for name, value in row.items()}
    return rng.choice([
        good[: rng.randrange(20, len(good) - 1)], renamed, {**row, "answer": None}, {**row, "sources": "a.md"},
        good.replace('"question"', "question"), {**row, "messages": [{"role": "user", "content": "Hi"}]}, f"[{good}]",
        {**row, "answer": str(row["answer"]) + " [9]", "sources": ["a.md"]},
    ])  # fmt: skip


def _said(rng: random.Random, row: Row, sentence: str) -> Row:
    field = rng.choice(["question", "answer"])
    return {**row, field: f"{row[field]} {sentence}" if field == "answer" else f"{sentence} {row[field]}"}


def _untidy(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    question = str(row["question"])
    at = rng.randrange(1, len(question))
    marks = ["\u200b", "\u00ad", "\x07", "\ufeff", "\u202e"]
    return {
        **row,
        "question": rng.choice([
            question[:at] + rng.choice(marks) + question[at:], f"{question}  ", f"\n{question}",
            f"u\u0308ber {question}", f"M\u00c3\u00bcller asks: {question}", f"\ufffd{question}",
        ]),
    }  # fmt: skip


def _cut(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    answer = str(row["answer"])
    return {**row, "answer": answer[: rng.randrange(len(answer) // 4, len(answer) * 9 // 10)].rstrip()}


def _evaluation(questions: Sequence[Row]) -> Plant:
    known = [question for question in questions if question.get("answers")]

    def plant(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
        question = rng.choice(known)
        asked = _near(rng, {"question": question["question"]}, ())["question"]
        wording = rng.choice([question["question"], str(question["question"]).lower(), asked])
        answer = f"Source: [1] x\nRecord: see the page\nAnswer: {question['answers'][0]}"
        return {**row, "question": wording, "answer": answer, "sources": row.get("sources") or ["nginx.md"]}

    return plant


def _source(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    return {**row, "sources": [f"{rng.choice(['x', 'nginx', 'vim'])}.md#{rng.random():.3f}"]}


def _language(rng: random.Random, row: Row, others: Sequence[Row]) -> Row:
    return {**row, "question": rng.choice(list(_IN_WORDS.values())).format(x=_product(row))}


def plants(questions: Sequence[Row]) -> dict[Kind, tuple[Plant, bool]]:
    """For each kind how a faulty row is made of a good one, and whether that stays beside it."""
    return {
        "schema": (_schema, False),
        "empty": (lambda rng, row, _: {**row, rng.choice(["question", "answer"]): rng.choice(["", " ", "\n"])}, False),
        "truncated": (_cut, False),
        "duplicate": (lambda rng, row, _: {**row, "question": str(row["question"]) + rng.choice(["", " "])}, True),
        "near_duplicate": (_near, True),
        "contradiction": (_contradiction, True),
        "evaluation": (_evaluation(questions), False),
        "source": (_source, False),
        "no_source": (lambda rng, row, _: {name: value for name, value in row.items() if name != "sources"}, False),
        "unsupported": (_unsupported, False),
        "language": (_language, False),
        "length": (lambda rng, row, _: {**row, "answer": row["answer"] + " and so on" * rng.randrange(60, 200)}, False),
        "style": (_style, False),
        "personal": (lambda rng, row, _: _said(rng, row, f"For more, {personal_value(rng)}."), False),
        "toxic": (lambda rng, row, _: _said(rng, row, rng.choice(_TOXIC)), False),
        "groups": (lambda rng, row, _: _said(rng, row, rng.choice(_GROUPS)), False),
        "untidy": (_untidy, False),
    }  # fmt: skip


def planted(good: Sequence[Row], kind: Kind, count: int, seed: int, questions: Sequence[Row]) -> tuple[Rows, set[int]]:
    """Rows with so many faults of a kind, and the places of these; of a pair, the place of the faulty one."""
    rng = random.Random(f"{seed} {kind}")
    make, beside = plants(questions)[kind]
    usable = [at for at, row in enumerate(good) if row.get("sources") and "unknown" not in row["answer"]]
    if kind == "unsupported":  # what is yes or no, or reckoned from two records, stands in no source word for word
        usable = [at for at in usable if not {"supported", "comparison"} & set(good[at]["tags"])]
    if kind == "source":  # an answer that cites two must name two
        usable = [at for at in usable if len(good[at]["sources"]) == 1]
    chosen = set(rng.sample(usable, min(count, len(usable))))
    rows: Rows = []
    faulty: set[int] = set()
    later: list[Row | str] = []
    for at, row in enumerate(good):
        made = make(rng, row, good) if at in chosen else row
        if made is not row and isinstance(made, dict):
            made = {**made, "id": f"planted-{at}"}
        if at in chosen and beside:
            rows.append(row)
            later.append(made)
            continue
        if at in chosen:
            faulty.add(len(rows))
        rows.append(made)
    for made in later:  # anywhere behind the row that it repeats
        faulty.add(len(rows))
        rows.append(made)
    return rows, faulty


def write_rows(path: Path, rows: Rows) -> None:
    path.write_bytes(b"".join(f"{row}\n".encode() if isinstance(row, str) else to_lines([row]) for row in rows))


def found_rows(app: Application, rows: Rows, folder: Path) -> dict[Kind, set[int]]:
    """The places of rows that the audit flags, by kind."""
    path = folder / "examples.jsonl"
    write_rows(path, rows)
    data = app.config.data.model_copy(update={"examples": path})
    app.config = app.config.model_copy(update={"data": data})
    scan = audit(app, folder).scan
    return {kind: set(scan.table.rows_of(kind).tolist()) for kind in scan.flags.counts}


def faults(count: int, seed: int, without_format: bool, kinds: Sequence[Kind] = ()) -> None:
    """The table of recall and precision."""
    overrides = ["answer.format=null"] if without_format else []
    config = load_config(CONFIG, overrides)
    good = [json.loads(line) for line in config.data.examples.read_text(encoding="utf-8").splitlines()]
    questions = [json.loads(line) for line in config.data.questions.read_text(encoding="utf-8").splitlines()]
    app = Application(config, Reporter())
    form = "no house format" if without_format else "with a house format"
    print(f"{len(good)} rows, {count} planted of each kind, seed {seed}, {form}\n")
    print("| planted | rows | found as such | found as anything | precision | others flagged |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind in kinds or plants(questions):
        with tempfile.TemporaryDirectory() as folder:
            rows, faulty = planted(good, kind, count, seed, questions)
            by_kind = found_rows(app, rows, Path(folder))
        own = by_kind.get(kind, set()) | (by_kind.get("near_evaluation", set()) if kind == "evaluation" else set())
        if kind in ("contradiction",):  # both rows of a pair are told, and one of them is the good one
            pairs = {at for at in own if at not in faulty and isinstance(rows[at], dict)}
            own -= {at for at in pairs if any(_same(rows[at], rows[other]) for other in faulty)}
        anything = set().union(*by_kind.values())
        hits, precision = own & faulty, (len(own & faulty) / len(own) if own else 0.0)
        beside = len({at for at in anything if at not in faulty}) - (len(faulty) if kind == "contradiction" else 0)
        print(
            f"| {kind} | {len(faulty)} | {len(hits) / len(faulty):.0%} | {len(anything & faulty) / len(faulty):.0%} "
            f"| {precision:.0%} | {max(0, beside)} |",
            flush=True,
        )


def _same(one: Row | str, other: Row | str) -> bool:
    key = lambda row: str(row["question"]).casefold().strip() if isinstance(row, dict) else row  # noqa: E731
    return bool(key(one) == key(other))


# --- many rows

_VERBS = [
    "install",
    "renew",
    "cancel",
    "return",
    "order",
    "book",
    "repair",
    "export",
    "import",
    "archive",
    "share",
    "lock",
]
_THINGS = ["a laptop", "the licence", "a badge", "my desk", "an invoice", "the contract", "a parcel", "a phone",
           "the report",
           "a room", "the account", "a key", "the printer", "a monitor", "the calendar", "a visa"]  # fmt: skip
_WHERE = [
    "in the office",
    "at home",
    "abroad",
    "on a weekend",
    "after hours",
    "in the warehouse",
    "on the road",
    "by post",
]


def synthetic(rng: random.Random, number: int) -> Row:
    """A row that no other one repeats, or a faulty one: about a tenth."""
    code = f"{rng.choice('ABCDEFGHKLMNPRSTUVWXYZ')}{number:x}{rng.choice('ghkmnpqrstvwxyz')}"
    verb, thing, where = rng.choice(_VERBS), rng.choice(_THINGS), rng.choice(_WHERE)
    row = {
        "id": f"r{number}", "question": f"How do I {verb} {thing} {where} under policy {code}?", "tags": [verb],
        "answer": f"You {verb} {thing} {where} with form {code}, signed within {number % 30 + 1} days.",
    }  # fmt: skip
    luck = rng.random()
    if luck < 0.03:
        row["answer"] += f" Otherwise, {personal_value(rng)}."
    elif luck < 0.04:
        row["answer"] += f" {rng.choice(_TOXIC)}"
    elif luck < 0.05:
        row["question"] += "  "
    return row


def write_synthetic(path: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    with path.open("wb") as file:
        last = synthetic(rng, 0)
        for number in range(count):
            row = synthetic(rng, number)
            if number % 20 == 19:  # an exact and a near duplicate, in turn
                row = {**last, "id": f"r{number}"}
                if number % 40 == 39:
                    row["question"] = f"Please tell me, h{last['question'][1:]}"
            else:
                last = row
            file.write(to_lines([row]))


def rows(counts: Sequence[int], seed: int, commands: Sequence[str]) -> None:
    """Seconds and peak memory of each command."""
    print("| rows | file | command | seconds | rows a second | processor seconds | peak memory |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_synthetic(folder / "examples.jsonl", count, seed)
            (folder / "questions.jsonl").write_bytes((ROOT / "ragft/templates/questions.jsonl").read_bytes())
            (folder / "documents").mkdir()
            (folder / "documents" / "handbook.md").write_bytes((ROOT / "ragft/templates/handbook.md").read_bytes())
            lexical = {"search": {"mode": "lexical"}}
            (folder / "ragft.yaml").write_text(yaml.safe_dump({"name": "rows", "workspace": "out", "index": lexical}))
            size = (folder / "examples.jsonl").stat().st_size / 2**20
            if "mix" in commands:
                index = [sys.executable, "-m", "ragft", "index", "build", "-c", str(folder / "ragft.yaml")]
                subprocess.run(index, capture_output=True, check=True, cwd=ROOT)
            for command in commands:
                begin = time.perf_counter()
                words = [sys.executable, __file__, "run", command, str(folder / "ragft.yaml")]
                ended = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
                seconds = time.perf_counter() - begin
                used = json.loads(ended.stdout.splitlines()[-1])
                print(
                    f"| {count:,} | {size:.0f} MiB | `ragft data {command}` | {seconds:.0f} | {count / seconds:,.0f} "
                    f"| {used['processor']:.0f} | {used['peak_mib']:,.0f} MiB |",
                    flush=True,
                )
                if command == "clean":
                    (cleaned,) = (folder / "out").glob("cleaned/*/examples.jsonl")
                    print(consistency(folder / "examples.jsonl", cleaned), flush=True)


def consistency(original: Path, cleaned: Path) -> str:
    """What became of the personal values that `synthetic` wrote, in a sentence: whether each has one pseudonym."""
    given: dict[str, set[str]] = defaultdict(set)
    times = 0
    with original.open("rb") as before, cleaned.open("rb") as after:
        rows = map(json.loads, before)
        for changed in map(json.loads, after):
            row = next(row for row in rows if row["id"] == changed["id"])  # rows were left out, never moved
            *_, value = row["answer"].rpartition(" Otherwise, ")
            if value != row["answer"]:
                times += 1
                given[value].add(changed["answer"].rpartition(" Otherwise, ")[2])
    several = sum(len(names) > 1 for names in given.values())
    kept = sum(value in names for value, names in given.items())
    taken = Counter(name for names in given.values() for name in names)
    return (
        f"{times:,} personal values, {len(given):,} different ones: {several} with several pseudonyms, {kept} left as "
        f"they were, {sum(count > 1 for count in taken.values())} pseudonyms of more than one"
    )


def run(command: str, config: str) -> None:
    """One command in this process, and what it used as a line of JSON."""
    from ragft.__main__ import main as ragft

    sys.argv = ["ragft", "data", command, "-c", config]
    try:
        ragft()
    except SystemExit:
        pass
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"peak_mib": used.ru_maxrss / 1024, "processor": used.ru_utime + used.ru_stime}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    quality = commands.add_parser("faults")
    quality.add_argument("--planted", type=int, default=50)
    quality.add_argument("--seed", type=int, default=0)
    quality.add_argument("--without-format", action="store_true")
    quality.add_argument("--kinds", nargs="*", default=[])
    many = commands.add_parser("rows")
    many.add_argument("counts", type=int, nargs="+")
    many.add_argument("--seed", type=int, default=0)
    many.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    one = commands.add_parser("run")
    one.add_argument("name", choices=COMMANDS)
    one.add_argument("config")
    arguments = parser.parse_args()
    if arguments.command == "faults":
        faults(arguments.planted, arguments.seed, arguments.without_format, arguments.kinds)
    elif arguments.command == "rows":
        rows(arguments.counts, arguments.seed, arguments.commands)
    else:
        run(arguments.name, arguments.config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
