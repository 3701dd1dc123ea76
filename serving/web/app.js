// The page: one chat at a time, asked of one setup or of all side by side; sources beside it; a search.
import { about, chip, passageText, rendered } from "/web/answer.js";
import { Refused, events, json } from "/web/api.js";
import { element } from "/web/element.js";
import { thumbs } from "/web/feedback.js";
import * as operate from "/web/operate.js";
import * as store from "/web/store.js";

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
  const asked = $("compare").checked && !setup ? setups : [setup ?? $("setup").value];
  // What was answered before is told as the first column said it.
  const before = chat.turns.flatMap((turn) => {
    const told = turn.answers.find((answer) => answer.text && !answer.fault);
    return told ? [{ role: "user", content: turn.question }, { role: "assistant", content: told.text }] : [];
  });
  const turn = { question, answers: asked.map((name) => ({ setup: name, text: "" })) };
  chat.turns.push(turn);
  chat.title ||= question.slice(0, 80);
  const shown = showTurn(turn);
  busy(true);
  $("spoken").textContent = "Answering";
  stopping = new AbortController();
  const { signal } = stopping;
  await Promise.all(turn.answers.map((answer, at) => answerTo([...before, { role: "user", content: question }],
    answer, shown[at], signal)));
  stopping = null;
  busy(false);
  $("spoken").textContent = turn.answers.map((answer) => answer.fault ?? answer.text).join("\n").slice(0, 2000);
  remember();
}

async function answerTo(messages, answer, shown, signal) {
  let due = 0;
  const paint = () => { due = 0; showReply(answer, shown); };
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
    showReply(answer, shown);
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
  turn.answers.forEach((answer, at) => showReply(answer, shown[at]));
  shown[0].scrollIntoView({ block: "nearest" });
  return shown;
}

function showReply(answer, shown) {
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

function openSource(passage, button, told, domain) {
  closeSource();
  const ground = told?.grounding;
  const page = passage.page ? ` · page ${passage.page}` : "";
  const whole = element("button", { type: "button" }, "Read the document");
  whole.addEventListener("click", () => readDocument(passage, domain));
  $("source-title").textContent = passage.title || passage.document_id;
  $("source-body").replaceChildren(
    element("p", { className: "path", dir: "auto" }, `${passage.heading}${page}`),
    passageText(passage.text, ground?.passage === passage.number ? ground.sentence : null),
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

// --- search ---------------------------------------------------------------------------------------------------------

async function search(query) {
  const domain = domainOf($("setup").value);
  let found;
  try {
    found = await json("/v1/retrieve", domain ? { query, model: $("setup").value } : { query });
  } catch (error) {
    if (error.status === 401) askForKey();
    $("hits").replaceChildren(element("li", { className: "fault" }, error.message));
    return;
  }
  const hits = found.passages.map((passage, at) => {
    const hit = found.hits[at] ?? {};
    const open = element("button", { type: "button" }, passage.title || passage.document_id);
    open.addEventListener("click", () => openSource(passage, open, null, domain));
    const scores = [["score", hit.score], ["dense", hit.dense_score], ["lexical", hit.lexical_score],
      ["rerank", hit.rerank_score]].filter(([, value]) => typeof value === "number");
    return element("li", { dir: "auto" }, open, element("div", { className: "path" }, passage.heading),
      element("div", { className: "passage" }, passage.text),
      element("div", { className: "scores" }, scores.map(([name, value]) => `${name} ${value.toPrecision(4)}`).join(" · ")));
  });
  $("hits").replaceChildren(...(hits.length ? hits : [element("li", {}, "Nothing was found.")]));
  $("spoken").textContent = `${hits.length} passages`;
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
$("find").addEventListener("submit", (event) => { event.preventDefault(); search($("query").value); });
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
