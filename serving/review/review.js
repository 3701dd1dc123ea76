// The page of one reviewer: a row beside its sources, and what is decided about it, by single keys or by buttons.
import { json } from "./api.js";
import { element } from "./element.js";

const HOME = new URL("..", import.meta.url).pathname;
const REASONS = ["The answer is wrong", "The source does not say so", "The question is unclear", "It asks for nothing of use",
  "It repeats another one", "It holds personal data"];
const DONE = { accept: "Accepted", edit: "Edited", reject: "Rejected" };
const LISTS = { answers: "one in each line", sources: "one in each line" };
const $ = (id) => document.getElementById(id);
let rows = [];
let counts = { all: 0, decided: 0, conflicts: 0 };
let at = null; // key of the row that is shown
let shown = null; // what the server told of it
let editing = false;
let busy = false;
let later = null; // what was asked for meanwhile, and may wait

const settling = () => $("filter").value === "conflicts";

function visible() {
  const filters = {
    undecided: (row) => !row.mine && !row.settled, decided: (row) => row.mine, conflicts: (row) => row.conflict,
    changed: (row) => row.changed && !row.mine, all: () => true,
  };
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = (row) => words.every((word) => `${row.label} ${row.name}\n${row.text}`.toLowerCase().includes(word));
  return rows.filter((row) => filters[$("filter").value](row) && found(row));
}

function fault(text) {
  $("fault").hidden = !text;
  $("fault").textContent = text ?? "";
}

// Waits for the server with one thing at a time, so that two quick keys never decide a row that is not seen yet.
async function alone(work) {
  if (busy) return;
  busy = true;
  try {
    fault("");
    await work();
  } catch (error) {
    fault(error.message);
  } finally {
    busy = false;
  }
  const next = later;
  later = null;
  if (next) await alone(next);
}

// --- showing --------------------------------------------------------------------------------------------------------

async function show(key) {
  at = key;
  editing = false;
  shown = key === null ? null : await json(`${HOME}rows/${key}${settling() ? "?settling=true" : ""}`);
  paint();
}

function paint() {
  const list = visible();
  const place = list.findIndex((row) => row.key === at);
  $("bar").max = Math.max(1, counts.all);
  $("bar").value = counts.decided;
  $("counts").textContent = `${counts.decided} of ${counts.all} decided, ${counts.conflicts} in conflict`;
  $("row").hidden = shown === null;
  $("empty").hidden = shown !== null;
  $("empty").textContent = nothing();
  // What is being written would be lost by any of these.
  for (const id of ["accept", "edit", "refuse"]) $(id).disabled = shown === null || editing;
  $("undo").disabled = editing;
  for (const [id, verdict] of [["accept", "Accept"], ["edit", "Edit"], ["refuse", "Reject"]]) {
    $(id).firstElementChild.textContent = settling() ? `Settle: ${verdict.toLowerCase()}` : verdict;
  }
  $("previous").disabled = shown === null || editing || place === 0;
  $("next").disabled = shown === null || editing || place === list.length - 1;
  $("reject").hidden = true;
  if (shown === null) return;
  const name = shown.name && !shown.label.includes(shown.name) ? `, ${shown.name}` : "";
  const position = place < 0 ? "" : `${place + 1} of ${list.length}: `;
  $("place").textContent = `${position}${shown.label}${name}`;
  marks();
  fields();
  $("beside").replaceChildren(...shown.beside.flatMap(([title, text]) => [
    element("dt", {}, title), element("dd", { dir: "auto" }, text)]));
  sayings();
  $("remark").textContent = shown.remark;
  $("passages").replaceChildren(...shown.passages.map(passage));
}

function nothing() {
  if ($("search").value) return "Nothing is found.";
  if ($("filter").value === "undecided") return "You have decided every row. Thank you.";
  return $("filter").value === "conflicts" ? "There is no conflict to settle." : "There is no such row.";
}

function marks() {
  const told = [];
  if (shown.mine) told.push([shown.mine, `You: ${DONE[shown.mine].toLowerCase()}`]);
  if (shown.settled) told.push([shown.settled, `Settled: ${DONE[shown.settled].toLowerCase()}`]);
  // Who has not decided yet should not know that others disagree.
  if (shown.conflict && (shown.mine || settling())) told.push(["conflict", "In conflict"]);
  if (shown.changed && !shown.mine) told.push(["changed", "Changed since it was decided"]);
  if (shown.repeats) told.push(["changed", `Asks nearly what ${shown.repeats} asks`]);
  $("marks").replaceChildren(...told.map(([kind, text]) => element("span", { className: `mark ${kind}` }, text)));
}

function fields() {
  const edited = shown.decision?.edited ?? {};
  $("fields").replaceChildren(...Object.entries(shown.fields).map(([name, original]) => {
    const text = edited[name] ?? original;
    const title = name.replaceAll("_", " ") + (editing && LISTS[name] ? `, ${LISTS[name]}` : "");
    if (editing) {
      const area = element("textarea", { id: `field-${name}`, name, value: text, dir: "auto",
        rows: Math.min(14, text.split("\n").length + Math.ceil(text.length / 70)) });
      return element("div", { className: "field" }, element("label", { htmlFor: area.id }, title), area);
    }
    const made = element("div", { className: "field" }, element("div", { className: "name" }, title),
      element("div", { className: "value", dir: "auto" }, text));
    if (text !== original) made.append(element("p", { className: "was" }, "was: ", element("del", { dir: "auto" }, original)));
    return made;
  }));
  if (!editing) return;
  $("fields").append(element("div", { className: "acts" },
    element("button", { type: "submit" }, settling() ? "Settle with this" : "Save", element("kbd", {}, "Ctrl ↵")),
    element("button", { type: "button", onclick: cancel }, "Cancel", element("kbd", {}, "Esc"))));
}

function sayings() {
  const told = (one, prefix) => {
    const changes = Object.entries(one.edited).map(([name, text]) => `\n${name}: ${text}`).join("");
    const why = one.reason ? `: ${one.reason}` : "";
    const who = one.settles ? `${one.reviewer} settled it` : one.reviewer;
    return element("p", { className: "saying", dir: "auto" }, `${prefix}${who}: ${DONE[one.verdict].toLowerCase()}${why}${changes}`);
  };
  const own = shown.decision?.reason ? [told(shown.decision, "")] : [];
  $("said").replaceChildren(...own, ...shown.others.map((one) => told(one, "")),
    ...shown.earlier.map((one) => told(one, "Earlier, about other words: ")));
}

function passage(one) {
  const text = element("p", { dir: "auto" });
  if (!one.pieces.length) text.append("Not looked up.");
  for (const [piece, marked] of one.pieces) text.append(marked ? element("mark", {}, piece) : piece);
  return element("article", { className: "passage" }, element("h3", {}, one.source), text);
}

// --- moving ---------------------------------------------------------------------------------------------------------

// The row that takes the place of one: itself while it is still in the list, else the next one after it.
function successor(before, key) {
  const list = visible();
  if (list.some((row) => row.key === key)) return key;
  const rest = before.slice(before.findIndex((row) => row.key === key) + 1).map((row) => row.key);
  return list.find((row) => rest.includes(row.key))?.key ?? list.at(-1)?.key ?? null;
}

const move = (step) => alone(async () => {
  const list = visible();
  const place = list.findIndex((row) => row.key === at);
  const next = list[Math.min(list.length - 1, Math.max(0, place + step))];
  if (next && next.key !== at) {
    await show(next.key);
    scrollTo(0, 0);
    speak(shown);
  }
});

async function again() {
  const list = visible();
  await show(list.some((row) => row.key === at) ? at : list[0]?.key ?? null);
}

function listChanged() {
  if (busy) later = again;
  else alone(again);
}

function speak(row, before = "") {
  $("spoken").textContent = row ? `${before} ${$("place").textContent}. ${Object.values(row.fields)[0]}` : `${before} ${nothing()}`;
}

// --- deciding -------------------------------------------------------------------------------------------------------

function taken(told) {
  counts = told;
  rows = rows.map((row) => (row.key === told.row?.key ? told.row : row));
}

const decide = (verdict, more = {}) => alone(async () => {
  if (shown === null) return;
  const before = visible();
  const key = at;
  taken(await json(`${HOME}decisions`, { row: key, verdict, settles: settling(), ...more }));
  // One that stays in the list is left behind, too: deciding goes on with the next.
  const list = visible();
  const place = list.findIndex((row) => row.key === key);
  await show(place < 0 ? successor(before, key) : list[Math.min(place + 1, list.length - 1)].key);
  scrollTo(0, 0);
  speak(shown, `${DONE[verdict]}.`);
  $("row").focus({ preventScroll: true });
});

const undo = () => alone(async () => {
  const told = await json(`${HOME}undo`, {});
  taken(told);
  if (told.row && !visible().some((row) => row.key === told.row.key)) {
    $("search").value = "";
    $("filter").value = told.row.mine ? "all" : "undecided";
    if (!visible().some((row) => row.key === told.row.key)) $("filter").value = "all";
  }
  await show(told.row?.key ?? at);
  speak(shown, "Taken back.");
});

function edit() {
  if (shown === null) return;
  editing = true;
  paint();
  const areas = [...$("fields").querySelectorAll("textarea")];
  const first = areas.find((area) => ["answer", "answers", "completion", "output", "corrected_answer"].includes(area.name));
  (first ?? areas[0]).focus();
}

function refuse() {
  if (shown === null) return;
  cancel();
  $("reject").hidden = false;
  $("reason").value = shown.decision?.reason ?? "";
  $("reject").scrollIntoView({ block: "nearest" });
  $("reason").focus({ preventScroll: true });
}

function cancel() {
  editing = false;
  paint();
  $("row").focus({ preventScroll: true });
}

function save() {
  const given = Object.fromEntries(new FormData($("fields")));
  // A form ends lines with a carriage return; the row does not.
  const told = Object.fromEntries(Object.entries(given).map(([name, text]) => [name, text.replaceAll("\r\n", "\n")]));
  decide("edit", { fields: told });
}

function reject() {
  if (!$("reason").value.trim()) {
    fault("Give a reason: a number for one of those above, or your own words.");
    $("reason").focus();
    return;
  }
  decide("reject", { reason: $("reason").value });
}

// --- keys and buttons -----------------------------------------------------------------------------------------------

const KEYS = {
  a: () => decide("accept"), e: edit, r: refuse, u: undo, j: () => move(1), k: () => move(-1),
  ArrowRight: () => move(1), ArrowLeft: () => move(-1), "/": () => $("search").focus(),
};

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target === $("search")) $("row").focus();
  else if (event.key === "Escape" && (editing || !$("reject").hidden)) cancel();
  else if (event.key === "Enter" && editing && (event.ctrlKey || event.metaKey)) save();
  else return letter(event);
  event.preventDefault();
});

function letter(event) {
  if (!$("keys").checked || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const reason = !$("reject").hidden && event.target === $("reason") && !$("reason").value && REASONS[Number(event.key) - 1];
  if (reason) {
    event.preventDefault();
    $("reason").value = reason;
    return;
  }
  if (editing || event.target.closest("input, select, textarea") || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

$("reasons").append(...REASONS.map((text, place) => element("button",
  { type: "button", onclick: () => { $("reason").value = text; $("reason").focus(); } }, text, element("kbd", {}, String(place + 1)))));
$("fields").addEventListener("submit", (event) => { event.preventDefault(); save(); });
$("reject").addEventListener("submit", (event) => { event.preventDefault(); reject(); });
$("not-reject").addEventListener("click", cancel);
$("filter").addEventListener("change", listChanged);
$("search").addEventListener("input", listChanged);
for (const [id, act] of Object.entries({ accept: KEYS.a, edit, refuse, undo, previous: KEYS.k, next: KEYS.j })) {
  $(id).addEventListener("click", act);
}
// What other reviewers add is seen when one comes back to the page.
addEventListener("focus", () => { if (!editing && $("reject").hidden && document.activeElement !== $("search")) load(); });

function load() {
  return alone(async () => {
    const told = await json(`${HOME}board`);
    rows = told.rows;
    counts = told;
    await again();
  });
}

load();
