"""Writes the pages, examples, questions and conversations of the software life-cycle desk from the facts beside it.

    python examples/lifecycle/make.py            # writes into this folder
    python examples/lifecycle/make.py --to DIR   # writes elsewhere, for instance to compare

The facts are release cycles of software products at two dates (endoflife.date, MIT, see LICENSE-facts). Products are
parted in two: examples teach with one half, questions ask about the other, so that no question can be answered from
the training. Everything is drawn with one seed: the same facts give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from ragft.data.generate.days import worked

HERE = Path(__file__).resolve().parent
OLD, NEW = "2025-06-01", "2026-08-22"
SEED = 7
EXAMPLES = 640
QUESTIONS = 600
CONVERSATIONS = 26
UNANSWERABLE_SHARE = (0.16, 0.14)  # of (examples, questions)
CHANGED_SHARE = 0.3
SAME_MONTH_SHARE = 0.25
"""Of the examples about a day, so many ask for one in the month of the end: by chance alone too few do for a small
model to learn to compare days of a month."""

REFUSAL = "Source: none\nRecord: not on the desk's pages\nAnswer: unknown"

CATEGORIES = {
    "app": "an end-user application",
    "database": "a database",
    "device": "a device",
    "framework": "a software framework",
    "lang": "a programming language or its runtime",
    "os": "an operating system",
    "server-app": "a server application",
    "service": "a hosted service",
    "standard": "a standard",
}


@dataclass(frozen=True)
class Cycle:
    """One release cycle as a page states it; dates are ISO strings."""

    name: str
    released: str
    active_support_ends: str | None
    end_of_life: str
    latest: str | None
    latest_released: str | None
    lts: bool


@dataclass(frozen=True)
class Product:
    """A product with its cycles, newest first."""

    id: str
    title: str
    category: str
    cycles: tuple[Cycle, ...]

    def cycle(self, name: str) -> Cycle | None:
        return next((cycle for cycle in self.cycles if cycle.name == name), None)


@dataclass(frozen=True)
class Ask:
    """A question that can be asked at any date: what it is about, and how its card is filled from a product's facts.

    Attributes:
        answer: gives the record line and the answer from the cycles asked about, or None where the page does not say.
    """

    kind: str
    text: str
    product: str
    cycles: tuple[str, ...]
    answer: Callable[[tuple[Cycle, ...]], tuple[str, str] | None]


def read_facts(path: Path) -> dict[str, Product]:
    """Products by id. A cycle whose end of life is `true` has ended at an unknown date, `false` has no date yet."""
    products = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        cycles = []
        for cycle in row["cycles"]:
            end = cycle["end_of_life"]
            active = cycle["active_support_ends"]
            cycles.append(
                Cycle(
                    name=cycle["cycle"],
                    released=cycle["released"],
                    active_support_ends=active if isinstance(active, str) else None,
                    end_of_life=end if isinstance(end, str) else "ended, date not recorded" if end else "not announced",
                    latest=cycle["latest"],
                    latest_released=cycle["latest_released"],
                    lts=bool(cycle["lts"]),
                )
            )
        products[row["product"]] = Product(row["product"], row["title"], row["category"], tuple(cycles))
    return products


def page(product: Product) -> str:
    """A product's page: a short introduction, then one section with a list for each release cycle.

    Each line names its cycle, so that it can be quoted alone: where only the headings did, a small model took the date
    of another cycle more often (see benchmarks/RESULTS.md).
    """
    what = CATEGORIES.get(product.category, "a software product")
    newest = product.cycles[0]
    lines = [
        f"# {product.title}",
        "",
        f"{product.title} is {what}. The desk follows {len(product.cycles)} cycles; the newest is {newest.name}.",
        "",
    ]
    for cycle in product.cycles:
        name = cycle.name
        lines += [f"## {product.title} {name}", "", f"- {name} released: {cycle.released}"]
        if cycle.active_support_ends:
            lines.append(f"- {name} active support ends: {cycle.active_support_ends}")
        lines.append(f"- {name} end of life: {cycle.end_of_life}")
        if cycle.latest:
            of = f", of {cycle.latest_released}" if cycle.latest_released else ""
            lines.append(f"- {name} latest version: {cycle.latest}{of}")
        if cycle.lts:
            lines.append(f"- {name} long-term support: yes")
        lines.append("")
    return "\n".join(lines)


def card(source: str, record: str, answer: str) -> str:
    """An answer in the house format."""
    return f"Source: {source}\nRecord: {record}\nAnswer: {answer}"


# --- Questions. The last wordings of each list are kept for the evaluation: no example uses them. -------------------

END_OF_LIFE = [
    "When does {name} reach end of life?",
    "Until when is {name} supported?",
    "What is the end-of-life date of {name}?",
    "On which day does support for {name} end?",
    "How long will {name} still get fixes?",
    "When will {name} be out of support?",
    "{name}: end of life?",
    "I run {name}. When does its support stop?",
    "We are still on {name} - when is it EOL?",
    "Please give me the EOL date for {name}.",
    "Our servers use {name}. What is the last day it is maintained?",
]
RELEASED = [
    "When was {name} released?",
    "What is the release date of {name}?",
    "On which day did {name} come out?",
    "When did {name} first ship?",
    "{name}: release date?",
    "How old is {name} - when was it published?",
    "I need the day {name} was launched.",
    "Since when has {name} been available?",
]
LATEST = [
    "What is the latest version of {name}?",
    "Which patch release of {name} is the newest?",
    "What is the most recent release in the {name} series?",
    "{name}: latest version?",
    "Which version should I install if I stay on {name}?",
    "What is the current point release of {name}?",
    "We run {name}. Which update is the newest one?",
    "To what version do I bring a {name} installation to be up to date?",
]
SUPPORTED = [
    "Is {name} still supported on {day}?",
    "Will {name} be supported on {day}?",
    "Is {name} maintained on {day}?",
    "Can I expect fixes for {name} on {day}?",
    "On {day}, is {name} still within its life cycle?",
    "Does {name} get updates on {day}?",
    "We plan an audit on {day}. Is {name} supported then?",
    "If I deploy {name} on {day}, is it still supported?",
]
LONGER = [
    "Which is supported longer, {first} or {second}?",
    "Which one has the later end of life: {first} or {second}?",
    "{first} or {second}: which is maintained longer?",
    "Of {first} and {second}, which reaches end of life later?",
    "I can pick {first} or {second}. Which stays supported longer?",
]
EARLIER = [
    "Which was released first, {first} or {second}?",
    "Which is older, {first} or {second}?",
    "{first} or {second}: which came out earlier?",
    "Of {first} and {second}, which was published first?",
    "Did {first} or {second} ship first?",
]
UNTRACKED = [
    "Who is the lead developer of {name}?",
    "How much does a licence for {name} cost?",
    "How many people use {name}?",
    "Which security holes does {name} have?",
    "How much memory does {name} need?",
    "What is the code name of {name}?",
    "How large is the download of {name}?",
    "Which companies sponsor {name}?",
    "What does a support contract for {name} cost?",
    "Which colour is the logo of {name}?",
    "How do I migrate to {name}?",
]
# Follow-ups, by what they change about the question before; they are understood behind it alone.
SAME_CYCLE = {
    "released": ["And when was it released?", "Since when has that been available?", "When did it come out?"],
    "latest": ["And its latest version?", "What is the newest update for it?", "Which update should I install?"],
    "end-of-life": ["And by when does it end?", "Until when is that supported?", "When is it EOL, then?"],
}
OTHER_CYCLE = ["And {cycle}?", "What about {cycle}?", "And for version {cycle}?"]
OTHER_PRODUCT = ["And {name}?", "What about {name}?", "And for {name}?"]
HELD_OUT = 2  # wordings per list that only questions use

# Wordings that only examples use: of the questions that a small model confuses with others.
TAUGHT_ONLY = {
    id(RELEASED): [
        "How long has {name} been around?",
        "From which day on could one get {name}?",
        "When did {name} become available?",
    ],
    id(UNTRACKED): [
        "Who wrote {name}?",
        "Under which licence is {name} published?",
        "How fast is {name}?",
        "What are the new features of {name}?",
        "How many bugs were fixed in {name}?",
        "Where can I download {name}?",
        "What is the price of {name}?",
        "How do I install {name}?",
    ],
}


def wordings(kind: list[str], held_out: bool) -> list[str]:
    """What may be asked in examples, or in questions: those know every wording of the lists."""
    return kind if held_out else [*kind[:-HELD_OUT], *TAUGHT_ONLY.get(id(kind), [])]


def ask_end(product: Product, cycle: Cycle, draw: random.Random, held_out: bool) -> Ask:
    text = draw.choice(wordings(END_OF_LIFE, held_out)).format(name=f"{product.title} {cycle.name}")

    def answer(cycles: tuple[Cycle, ...]) -> tuple[str, str] | None:
        end = cycles[0].end_of_life
        return None if "not recorded" in end else (f"{cycle.name} end of life: {end}", end)

    return Ask("end-of-life", text, product.id, (cycle.name,), answer)


def ask_released(product: Product, cycle: Cycle, draw: random.Random, held_out: bool) -> Ask:
    text = draw.choice(wordings(RELEASED, held_out)).format(name=f"{product.title} {cycle.name}")
    return Ask(
        "released",
        text,
        product.id,
        (cycle.name,),
        lambda cycles: (f"{cycle.name} released: {cycles[0].released}", cycles[0].released),
    )


def ask_latest(product: Product, cycle: Cycle, draw: random.Random, held_out: bool) -> Ask | None:
    text = draw.choice(wordings(LATEST, held_out)).format(name=f"{product.title} {cycle.name}")

    def answer(cycles: tuple[Cycle, ...]) -> tuple[str, str] | None:
        latest = cycles[0].latest
        return (f"{cycle.name} latest version: {latest}", latest) if latest else None

    return Ask("latest", text, product.id, (cycle.name,), answer) if cycle.latest else None


def ask_supported(product: Product, cycle: Cycle, draw: random.Random, held_out: bool) -> Ask | None:
    if not is_date(cycle.end_of_life):
        return None
    # Days on both sides of the end, within three years of it, but not before there was anything to deploy.
    offset = draw.choice((-1, 1)) * draw.randint(20, 1100)
    day = (date.fromisoformat(cycle.end_of_life) + timedelta(days=offset)).isoformat()
    if not held_out and draw.random() < SAME_MONTH_SHARE:
        day = f"{cycle.end_of_life[:7]}-{draw.randint(1, 28):02}"
    if day < cycle.released:
        return None
    text = draw.choice(wordings(SUPPORTED, held_out)).format(name=f"{product.title} {cycle.name}", day=day)

    def answer(cycles: tuple[Cycle, ...]) -> tuple[str, str] | None:
        end = cycles[0].end_of_life
        if not is_date(end) and end != "not announced":
            return None
        # The day comes first, so that the card does not begin as one about the end of life.
        if not is_date(end):
            return f"asked {day}, {cycle.name} end of life: {end}", "yes"
        over = day > end
        later = "asked" if over else "end of life"
        record = f"asked {day}, {cycle.name} end of life: {end}, {worked(day, end)}, later {later}"
        return record, "no" if over else "yes"

    return Ask("supported", text, product.id, (cycle.name,), answer)


def ask_comparison(product: Product, cycle: Cycle, draw: random.Random, held_out: bool) -> Ask | None:
    others = [other for other in product.cycles if other.name != cycle.name and is_date(other.end_of_life)]
    if not others or not is_date(cycle.end_of_life):
        return None
    other = draw.choice(others)
    longer = draw.random() < (0.6 if held_out else 0.5)
    text = draw.choice(wordings(LONGER if longer else EARLIER, held_out)).format(
        first=f"{product.title} {cycle.name}", second=f"{product.title} {other.name}"
    )

    def answer(cycles: tuple[Cycle, ...]) -> tuple[str, str] | None:
        first, second = cycles
        days = [c.end_of_life if longer else c.released for c in cycles]
        if not all(map(is_date, days)) or days[0] == days[1]:
            return None
        word = "end of life" if longer else "released"
        later, earlier = (first, second) if days[0] > days[1] else (second, first)
        chosen = f"later {later.name}" if longer else f"earlier {earlier.name}"
        record = (
            f"{first.name} {word}: {days[0]}, {second.name} {word}: {days[1]}, {worked(*days)}, "
            f"{earlier.name} before {later.name}, {chosen}"
        )
        return record, (later if longer else earlier).name

    return Ask("comparison", text, product.id, (cycle.name, other.name), answer)


# How often each kind is drawn, for (examples, questions): what a small model finds hard takes more practice.
ASKERS: list[tuple[Callable[[Product, Cycle, random.Random, bool], Ask | None], tuple[int, int]]] = [
    (ask_end, (24, 27)),
    (ask_released, (14, 15)),
    (ask_latest, (18, 26)),
    (ask_supported, (20, 20)),
    (ask_comparison, (24, 12)),
]


def answered(ask: Ask, products: dict[str, Product]) -> tuple[str, str] | None:
    """Record and answer of a question by the facts of one date; None where its pages do not say."""
    product = products.get(ask.product)
    cycles = tuple(cycle for name in ask.cycles if product and (cycle := product.cycle(name)))
    return ask.answer(cycles) if len(cycles) == len(ask.cycles) else None


def answerable(products: list[Product], draw: random.Random, held_out: bool) -> Iterator[Ask]:
    """An endless stream of questions, over products in turn, of the kinds in `ASKERS`."""
    askers = [asker for asker, _ in ASKERS]
    weights = [share[held_out] for _, share in ASKERS]
    while True:
        for product in draw.sample(products, len(products)):
            (asker,) = draw.choices(askers, weights)
            # Of the newest cycles the end of life is often not announced, which must be practised.
            recent = not held_out and draw.random() < 0.4
            ask = asker(product, draw.choice(product.cycles[:3] if recent else product.cycles), draw, held_out)
            if ask is not None:
                yield ask


def unanswerable(
    known: list[Product],
    unknown: list[Product],
    everything: Iterable[Product],
    draw: random.Random,
    held_out: bool,
) -> Iterator[tuple[str, str]]:
    """An endless stream of (reason, question) that the pages cannot answer at either date."""
    kinds = [END_OF_LIFE, RELEASED, LATEST, SUPPORTED]
    cycles_of: dict[str, set[str]] = {}
    for product in everything:
        cycles_of.setdefault(product.title, set()).update(cycle.name for cycle in product.cycles)
    while True:
        # A page about the right cycle that does not say what was asked is the hardest to refuse.
        (reason,) = draw.choices(("no such product", "no such cycle", "not tracked"), (1, 1, 2 if held_out else 3))
        kind = UNTRACKED if reason == "not tracked" else draw.choice(kinds)
        product = draw.choice(unknown if reason == "no such product" else known)
        cycle = draw.choice(product.cycles).name
        if reason == "no such cycle":
            made_up = invented_cycle(cycle, cycles_of[product.title], draw)
            if made_up is None:
                continue
            cycle = made_up
        day = (date(2024, 1, 1) + timedelta(days=draw.randint(0, 1500))).isoformat()
        yield reason, draw.choice(wordings(kind, held_out)).format(name=f"{product.title} {cycle}", day=day)


def invented_cycle(name: str, taken: set[str], draw: random.Random) -> str | None:
    """A cycle name of the same shape that no page lists: the last number is raised until it is free."""
    match = re.fullmatch(r"(.*?)(\d+)", name)
    if match is None:
        return None
    for step in range(draw.randint(1, 5), 60):
        candidate = f"{match[1]}{int(match[2]) + step}"
        if candidate not in taken:
            return candidate
    return None


def is_date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is not None


def sources(product: Product, cycles: Iterable[str]) -> list[str]:
    return [f"{product.id}.md#{product.title} {name}" for name in cycles]


def numbered(product: Product, cycles: tuple[str, ...], filled: tuple[str, str]) -> str:
    """The card about cycles of a product that cites its first source, or its first two."""
    numbers = "".join(f"[{n}]" for n in range(1, len(cycles) + 1))
    return card(f"{numbers} {product.title} {' and '.join(cycles)}", *filled)


def make_examples(products: list[Product], unknown: list[Product], draw: random.Random) -> Iterator[dict[str, object]]:
    """Training examples by the old facts. `[1]` stands for the first source; the mixer numbers it by its place."""
    facts = {product.id: product for product in products}
    refusals = unanswerable(products, unknown, [*products, *unknown], draw, False)
    asks = answerable(products, draw, False)
    seen: set[str] = set()
    while len(seen) < EXAMPLES:
        refuse = draw.random() < UNANSWERABLE_SHARE[0]
        if refuse:
            reason, text = next(refusals)
            row: dict[str, object] = {
                "question": text, "answer": REFUSAL, "sources": [], "tags": ["unanswerable", reason]
            }  # fmt: skip
        else:
            ask = next(asks)
            filled = answered(ask, facts)
            if filled is None:
                continue
            product, text = facts[ask.product], ask.text
            row = {
                "question": text,
                "answer": numbered(product, ask.cycles, filled),
                "sources": sources(product, ask.cycles),
                "group": product.id,
                "tags": [ask.kind],
            }
        if text not in seen:
            seen.add(text)
            yield {"id": f"e{len(seen):04}", **row}


def make_questions(
    old: dict[str, Product], new: dict[str, Product], unknown: list[Product], draw: random.Random
) -> Iterator[tuple[dict[str, object], str]]:
    """Evaluation questions by the new facts, with the old answer where it was another one; and the right card of each,
    numbered as the sources of the question are."""
    products = list(new.values())
    refusals = unanswerable(products, unknown, [*old.values(), *products, *unknown], draw, True)
    anything = answerable(products, draw, True)
    updates = changed(old, products, draw)
    seen: set[str] = set()
    while len(seen) < QUESTIONS:
        if draw.random() < UNANSWERABLE_SHARE[1]:
            reason, text = next(refusals)
            right = REFUSAL
            row: dict[str, object] = {
                "answers": [],
                "sources": [],
                "answerable": False,
                "tags": ["unanswerable", reason],
            }
        else:
            # Changed facts are rarer than unchanged ones, and they are what a refresh is for.
            ask = next(updates if draw.random() < CHANGED_SHARE else anything)
            text, now, before = ask.text, answered(ask, new), answered(ask, old)
            if now is None:
                continue
            stale = [] if before == now else [before[1] if before else "unknown"]
            stale = [value for value in stale if value != now[1]]
            state = "unchanged" if not stale else "changed" if before else "new"
            right = numbered(new[ask.product], ask.cycles, now)
            row = {
                "answers": [now[1]],
                "stale_answers": stale,
                "sources": sources(new[ask.product], ask.cycles),
                "answerable": True,
                "tags": [ask.kind, state],
            }
        if text not in seen:
            seen.add(text)
            yield {"id": f"q{len(seen):04}", "question": text, **row}, right


def make_conversations(products: list[Product], draw: random.Random) -> Iterator[dict[str, object]]:
    """Follow-ups by the new facts, each with the turns before it and the same question asked by itself.

    Every conversation opens with a question about one cycle; the second turn asks something else about it, or the same
    about another cycle or product; the third, where there is one, something else about that.
    """
    askers = {"released": ask_released, "latest": ask_latest, "end-of-life": ask_end}
    facts = {product.id: product for product in products}
    rich = [product for product in products if len(product.cycles) > 1 and all(c.latest for c in product.cycles)]
    changes = ["fact", "cycle", "product"]
    for number in range(1, CONVERSATIONS + 1):
        product, other = draw.sample(rich, 2)
        cycle, next_cycle = draw.sample(product.cycles, 2)
        kind = draw.choice(list(askers))
        history: list[dict[str, str]] = []
        for place in range(draw.choice((2, 3, 3))):
            change = "opening" if place == 0 else "fact" if place == 2 else changes[number % len(changes)]
            if change == "fact":
                kind = draw.choice([name for name in askers if name != kind])
                text = draw.choice(SAME_CYCLE[kind])
            elif change == "cycle":
                cycle = next_cycle
                text = draw.choice(OTHER_CYCLE).format(cycle=cycle.name)
            elif change == "product":
                product, cycle = other, draw.choice(other.cycles)
                text = draw.choice(OTHER_PRODUCT).format(name=f"{product.title} {cycle.name}")
            ask = askers[kind](product, cycle, draw, True)
            filled = answered(ask, facts) if ask else None
            if ask is None or filled is None:
                break
            if change == "opening":
                text = ask.text
            else:
                yield {
                    "id": f"c{number:02}-{place + 1}", "question": text, "standalone": ask.text,
                    "history": list(history), "answers": [filled[1]], "sources": sources(product, ask.cycles),
                    "answerable": True, "tags": [kind, f"other {change}"],
                }  # fmt: skip
            answer = card(f"[1] {product.title} {cycle.name}", *filled)
            history += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


def changed(old: dict[str, Product], products: list[Product], draw: random.Random) -> Iterator[Ask]:
    """An endless stream of questions about facts of known cycles that are not what they were."""
    pool = []
    for product in products:
        for cycle in product.cycles:
            before = old[product.id].cycle(cycle.name)
            if before and before.latest and before.latest != cycle.latest:
                pool.append((ask_latest, product, cycle))
            if before and before.end_of_life != cycle.end_of_life:
                pool += [(ask_end, product, cycle), (ask_supported, product, cycle)]
    while True:
        for asker, product, cycle in draw.sample(pool, len(pool)):
            ask = asker(product, cycle, draw, True)
            if ask is not None:
                yield ask


def write_lines(path: Path, rows: Iterable[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def parted(products: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Products without a page, those that examples teach with, and those that questions ask about."""
    draw = random.Random(SEED)
    everyone = sorted(products)
    draw.shuffle(everyone)
    # A tenth has no page at all: what the desk is asked about it must be refused.
    unknown, documented = everyone[: len(everyone) // 10], everyone[len(everyone) // 10 :]
    return unknown, documented[: len(documented) // 2], documented[len(documented) // 2 :]


def asked_questions(old: dict[str, Product], new: dict[str, Product]) -> Iterator[tuple[dict[str, object], str]]:
    """The bundled questions, each with its right card; see `make_questions`."""
    unknown, _, asked = parted(old)
    return make_questions(
        {p: old[p] for p in asked}, {p: new[p] for p in asked}, [new[p] for p in unknown[len(unknown) // 2 :]],
        random.Random(SEED + 2),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=HERE, help="folder to write into (default: this one)")
    folder: Path = parser.parse_args().to

    old, new = (read_facts(HERE / f"facts-{day}.jsonl") for day in (OLD, NEW))
    unknown, taught, asked = parted(old)
    for day, facts in ((OLD, old), (NEW, new)):
        pages = folder / f"documents-{day}"
        pages.mkdir(parents=True, exist_ok=True)
        for product in (*taught, *asked):
            (pages / f"{product}.md").write_text(page(facts[product]), encoding="utf-8")
    half = len(unknown) // 2
    write_lines(
        folder / "examples.jsonl",
        make_examples([old[p] for p in taught], [old[p] for p in unknown[:half]], random.Random(SEED + 1)),
    )
    write_lines(folder / "questions.jsonl", (row for row, _ in asked_questions(old, new)))
    write_lines(folder / "conversations.jsonl", make_conversations([new[p] for p in asked], random.Random(SEED + 3)))


if __name__ == "__main__":
    main()
