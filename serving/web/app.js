// The page: one chat at a time, asked of one setup or of all side by side; sources beside it.
import { about, chip, passageText, rendered } from "/web/answer.js";
import { Refused, events, json } from "/web/api.js";
import { element } from "/web/element.js";
import { thumbs } from "/web/feedback.js";
import * as operate from "/web/operate.js";
import * as searching from "/web/search.js";
import * as store from "/web/store.js";
import { canVote, isHidden, shuffled, voteFor } from "/web/vote.js";

const $ = (id) => document.getElementById(id);
let session = { closed: false, logged_in: false };
let setups = [];
let chat = fresh();
let stopping = null;
let opened = null;

function fresh() {
  return { id: crypto.randomUUID?.() ?? String(Date.now()), title: "", turns: [] };
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text ?? "";
}

// Where there are several domains, the names of models begin with theirs.
const domainOf = (name) => (name.includes("/") ? name.split("/")[0] : null);

// --- asking ---------------------------------------------------------------------------------------------------------

async function ask(question, setup = null) {
  const one = setup ?? $("setup").value;
  const all = $("compare").checked && !setup ? setups.filter((name) => domainOf(name) === domainOf(one)) : [one];
  const blind = all.length > 1 && $("blind").checked;
  const asked = blind ? shuffled(all) : all;
  // What was answered before is told as the first column said it.
  const before = chat.turns.flatMap((turn) => {
    const told = turn.answers.find((answer) => answer.text && !answer.fault);
    return told ? [{ role: "user", content: turn.question }, { role: "assistant", content: told.text }] : [];
  });
  const turn = { question, answers: asked.map((name) => ({ setup: name, text: "" })), blind };
  chat.turns.push(turn);
  chat.title ||= question.slice(0, 80);
  const shown = showTurn(turn);
  busy(true);
  $("spoken").textContent = "Answering";
  stopping = new AbortController();
  const { signal } = stopping;
  await Promise.all(turn.answers.map((answer, at) => answerTo([...before, { role: "user", content: question }],
    answer, () => showReply(turn, at, shown[at]), signal)));
  stopping = null;
  busy(false);
  // Nothing can be chosen from what is not whole, so there is nothing to hide any more.
  if (!canVote(turn)) turn.blind = false;
  turn.done = true;
  showAnswers(turn, shown);
  const several = turn.answers.length > 1;
  $("spoken").textContent = turn.answers.map((answer, at) => (several ? `${nameOf(turn, at)}: ` : "")
    + (answer.fault ?? (isHidden(turn) ? withoutMarks(answer.text) : answer.text))).join("\n").slice(0, 2000);
  remember();
}

async function answerTo(messages, answer, show, signal) {
  let due = 0;
  const paint = () => { due = 0; show(); };
  try {
    const body = { model: answer.setup, messages, stream: true, ragft: { return_passages: true } };
    for await (const event of events("/v1/chat/completions", body, signal)) {
      answer.id ??= event.id;
      answer.text += event.choices?.[0]?.delta?.content ?? "";
      if (event.choices?.[0]?.finish_reason === "length") answer.cut = true;
      if (event.ragft) answer.told = event.ragft;
      // Long texts take long to lay out: not more often than they can be read.
      due ||= answer.text.length > 20000 ? setTimeout(paint, 500) : requestAnimationFrame(paint);
    }
  } catch (error) {
    if (error.name === "AbortError") answer.stopped = true;
    else if (error instanceof Refused) fault(answer, error);
    else throw error;
  } finally {
    answer.done = true;
    show();
  }
}

function fault(answer, error) {
  answer.fault = error.message;
  if (error.status === 401) askForKey();
  if (error.status === 503) whenReady();
}

function busy(is) {
  $("stop").hidden = !is;
  $("send").disabled = is;
  $("turns").setAttribute("aria-busy", String(is));
  document.querySelectorAll(".retry, .edit").forEach((button) => { button.disabled = is; });
}

// --- showing --------------------------------------------------------------------------------------------------------

function showTurn(turn) {
  $("empty").hidden = true;
  const edit = element("button", { type: "button", className: "edit" }, "Edit");
  edit.addEventListener("click", () => {
    chat.turns.splice(chat.turns.indexOf(turn));
    showChat();
    $("question").value = turn.question;
    grow();
    $("question").focus();
  });
  const columns = element("div", { className: "columns" });
  const shown = turn.answers.map(() => element("article", { className: "reply" }));
  columns.append(...shown);
  $("turns").append(element("section", { className: "turn" },
    element("div", { className: "question" }, element("p", { dir: "auto" }, turn.question), edit), columns));
  showAnswers(turn, shown);
  shown[0].scrollIntoView({ block: "nearest" });
  return shown;
}

// The columns of a turn, and under them the choice between them, once they are whole.
function showAnswers(turn, shown) {
  turn.answers.forEach((answer, at) => showReply(turn, at, shown[at]));
  const columns = shown[0].parentElement;
  columns.parentElement.querySelector(".vote")?.remove();
  if (!turn.done || !canVote(turn)) return;
  columns.after(voteFor(turn, {
    names: turn.answers.map((_, at) => nameOf(turn, at)),
    refused: (error) => { if (error.status === 401) askForKey(); },
    shown: (said) => {
      showAnswers(turn, shown);
      columns.parentElement.querySelector(".vote")?.focus({ preventScroll: true });
      $("spoken").textContent = said;
      remember();
    },
  }));
}

const nameOf = (turn, at) => (isHidden(turn) ? `Answer ${at + 1}` : turn.answers[at].setup);

// Marks of citations would tell which setup retrieves.
const withoutMarks = (text) => text.replace(/ *\[\d{1,3}\]/g, "");

// Of a hidden answer nothing is shown until all are whole: how fast one comes would give it away.
function showHidden(turn, at, shown) {
  const text = element("div", { className: "text" });
  if (turn.done) text.append(rendered(withoutMarks(turn.answers[at].text), [], null));
  else text.append("…");
  text.tabIndex = 0;
  shown.style.removeProperty("--c");
  shown.replaceChildren(element("header", {}, nameOf(turn, at)), text);
}

function showReply(turn, at, shown) {
  if (isHidden(turn)) {
    showHidden(turn, at, shown);
    return;
  }
  const answer = turn.answers[at];
  const passages = answer.told?.passages ?? [];
  const show = (passage, button) => openSource(passage, button, answer.told, domainOf(answer.setup));
  const text = element("div", { className: "text" });
  text.tabIndex = answer.text.length > 2000 ? 0 : -1;
  if (answer.text) text.append(rendered(answer.text, passages, show));
  else if (!answer.done) text.append("…");
  const parts = [element("header", {}, answer.setup), text];
  if (answer.cut) parts.push(element("p", { className: "fault" }, "The answer was cut off at its longest allowed length."));
  if (answer.stopped) parts.push(element("p", { className: "fault" }, "Stopped."));
  if (answer.fault) parts.push(element("p", { className: "fault" }, answer.fault));
  if (passages.length) {
    const cited = new Set((answer.told.citations ?? []).map((one) => one.number));
    const others = passages.filter((one) => !cited.has(one.number)).map((one) => chip(one, show));
    if (others.length) parts.push(element("p", { className: "about" }, "Also given: ", ...others));
  }
  if (answer.told) parts.push(about(answer.told));
  if (answer.done) parts.push(...acts(answer));
  shown.style.setProperty("--c", `var(--${answer.setup.split("/").pop()}, var(--other))`);
  shown.replaceChildren(...parts);
}

function acts(answer) {
  const copy = element("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(answer.text);
      $("spoken").textContent = "Copied";
      copy.textContent = "Copied";
    } catch {
      notice("The browser does not allow copying here: select the text instead.");
    }
  });
  const retry = element("button", { type: "button", className: "retry" }, "Retry");
  retry.addEventListener("click", () => {
    const at = chat.turns.findIndex((turn) => turn.answers.includes(answer));
    if (at < 0 || stopping) return;
    const { question, answers } = chat.turns[at];
    chat.turns.splice(at);
    showChat();
    ask(question, answers.length === 1 ? answer.setup : null);
  });
  const row = element("div", { className: "acts" }, copy, retry);
  // Of an answer that broke off, the server knows nothing.
  if (!answer.told || !answer.id) return [row];
  const { buttons, place } = thumbs(answer, {
    refused: (error) => { if (error.status === 401) askForKey(); },
    said: () => { $("spoken").textContent = "Thank you, that is kept."; remember(); },
  });
  row.append(...buttons);
  return [row, place];
}

function showChat() {
  $("turns").replaceChildren();
  $("empty").hidden = chat.turns.length > 0;
  chat.turns.forEach(showTurn);
  const others = store.all().filter((one) => one.id !== chat.id);
  $("earlier").hidden = others.length === 0;
  const forget = element("button", { type: "button" }, "Forget all of these");
  forget.addEventListener("click", () => { store.forget(); showChat(); });
  $("earlier").querySelector("ul").replaceChildren(...others.map((one) => {
    const open = element("button", { type: "button" }, one.title || "Chat");
    open.addEventListener("click", () => { if (!stopping) { chat = one; closeSource(); showChat(); } });
    return element("li", { dir: "auto" }, open);
  }), element("li", {}, forget));
}

function remember() {
  if (!store.save(chat)) notice("This browser keeps no chats: they are gone when the page is closed.");
}

// --- sources --------------------------------------------------------------------------------------------------------

function openSource(passage, button, told, domain, marks = null) {
  closeSource();
  const ground = told?.grounding;
  const page = passage.page ? ` · page ${passage.page}` : "";
  const whole = element("button", { type: "button" }, "Read the document");
  whole.addEventListener("click", () => readDocument(passage, domain));
  $("source-title").textContent = passage.title || passage.document_id;
  $("source-body").replaceChildren(
    element("p", { className: "path", dir: "auto" }, `${passage.heading}${page}`),
    passageText(passage.text, ground?.passage === passage.number ? ground.sentence : null, marks),
    element("p", { className: "path" }, passage.document_id), whole,
  );
  opened = button;
  opened.setAttribute("aria-expanded", "true");
  $("source").hidden = false;
  $("source").focus({ preventScroll: true });
}

async function readDocument(passage, domain) {
  let found;
  try {
    const of = domain ? `&domain=${encodeURIComponent(domain)}` : "";
    found = await json(`/v1/document?id=${encodeURIComponent(passage.document_id)}${of}`);
  } catch (error) {
    $("source-body").append(element("p", { className: "fault" }, error.message));
    return;
  }
  const chunks = found.chunks.map((chunk) => {
    const cited = chunk.start >= passage.start && chunk.end <= passage.end;
    return element("div", { className: cited ? "chunk cited" : "chunk", dir: "auto" },
      element("div", { className: "path" }, `${chunk.heading_path.join(" > ")} · characters ${chunk.start} to ${chunk.end}`),
      chunk.text);
  });
  $("source-body").replaceChildren(element("p", { className: "path" }, passage.document_id), ...chunks);
  $("source-body").querySelector(".cited")?.scrollIntoView({ block: "center" });
}

function closeSource() {
  $("source").hidden = true;
  opened?.setAttribute("aria-expanded", "false");
  if (opened?.isConnected) opened.focus({ preventScroll: true });
  opened = null;
}

// --- session --------------------------------------------------------------------------------------------------------

function askForKey() {
  $("key").value = "";
  $("key-fault").textContent = "";
  if (!$("login").open) $("login").showModal();
}

async function start() {
  session = await json("/web/session");
  $("logout").hidden = !(session.closed && session.logged_in);
  if (session.closed && !session.logged_in) {
    askForKey();
    return;
  }
  try {
    setups = (await json("/v1/models")).data.map((one) => one.id);
    notice("");
  } catch (error) {
    if (error.status === 401) askForKey();
    else notice(error.message);
    return;
  }
  $("setup").replaceChildren(...setups.map((name) => element("option", { value: name }, name)));
  $("compare").parentElement.hidden = setups.length < 2;
  $("blind").parentElement.hidden = setups.length < 2;
  operate.prepare($("operate"), setups).then((may) => { document.querySelector("[data-view=operate]").hidden = !may; });
  await whenReady();
}

async function whenReady() {
  for (;;) {
    const { ok } = await fetch("/health/ready").catch(() => ({ ok: false }));
    if (ok) break;
    notice("The model is loading; questions can be asked in a moment.");
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
  notice("");
}

function grow() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || stopping) return;
  $("question").value = "";
  grow();
  ask(question);
});
$("question").addEventListener("input", grow);
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("stop").addEventListener("click", () => stopping?.abort());
$("new").addEventListener("click", () => {
  stopping?.abort();
  chat = fresh();
  closeSource();
  showChat();
  $("question").focus();
});
$("close").addEventListener("click", closeSource);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !$("source").hidden) closeSource(); });
searching.prepare($("search"), {
  domain: () => domainOf($("setup").value), model: () => $("setup").value, open: openSource,
  refused: (error) => { if (error.status === 401) askForKey(); },
  said: (text) => { $("spoken").textContent = text; },
});
$("blind").addEventListener("change", () => { if ($("blind").checked) $("compare").checked = true; });
$("compare").addEventListener("change", () => { if (!$("compare").checked) $("blind").checked = false; });
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-view]")) {
      other.setAttribute("aria-pressed", String(other === button));
      $(other.dataset.view).hidden = other !== button;
    }
    if (button.dataset.view === "operate") operate.show();
    else operate.hide();
    closeSource();
  });
}
$("would").addEventListener("click", () => operate.refresh(true));
$("refresh").addEventListener("click", () => operate.refresh(false));
$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await json("/web/session", { key: $("key").value });
    $("login").close();
    await start();
  } catch (error) {
    $("key-fault").textContent = error.message;
  }
});
$("logout").addEventListener("click", async () => {
  await json("/web/session", undefined, { method: "DELETE" });
  store.forget();
  location.reload();
});

store.load();
showChat();
start().catch((error) => notice(error.message));
