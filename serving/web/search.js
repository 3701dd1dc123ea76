// The search: what the index finds, narrowed by conditions on metadata, and why each passage ranks where it does.
import { passageText } from "/web/answer.js";
import { element } from "/web/element.js";
import { json } from "/web/api.js";

const SIGNS = [["=", "is"], ["!=", "is not"], [">=", "is at least"], ["<=", "is at most"], ["~", "matches"]];
const FIELDS = ["document", "title", "page"];

let place = null;
let outside = null;
let conditions = [];
let searches = 0;

// `outside`: which domain and model are searched, how a passage is opened, and who is told of errors and of counts.
export function prepare(where, told) {
  place = where;
  outside = told;
  place.querySelector("#find").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  const sign = place.querySelector("#condition select");
  sign.replaceChildren(...SIGNS.map(([value, name]) => element("option", { value }, name)));
  place.querySelector("#condition").addEventListener("submit", (event) => {
    event.preventDefault();
    const { field, value } = event.target.elements;
    add(`${field.value.trim()}${sign.value}${value.value.trim()}`);
    field.value = value.value = "";
  });
  know([]);
}

function add(condition) {
  if (!conditions.includes(condition)) conditions.push(condition);
  showConditions();
}

function showConditions() {
  place.querySelector("#conditions").replaceChildren(...conditions.map((one) => {
    const button = element("button", { type: "button" }, `${one} ×`);
    button.setAttribute("aria-label", `Remove the condition ${one}`);
    button.addEventListener("click", () => {
      conditions = conditions.filter((other) => other !== one);
      showConditions();
      place.querySelector("#query").focus();
    });
    return element("li", { dir: "auto" }, button);
  }));
  if (searches) search();
}

// The fields that conditions may name: of the passages that were found, and those that all of them have.
function know(hits) {
  const list = place.querySelector("#fields");
  const names = new Set([...FIELDS, ...hits.flatMap((hit) => Object.keys(hit.metadata ?? {})),
    ...[...list.children].map((one) => one.value)]);
  list.replaceChildren(...[...names].sort().map((value) => element("option", { value })));
}

async function search() {
  const query = place.querySelector("#query").value;
  if (!query.trim()) return;
  const number = (searches += 1);
  const list = place.querySelector("#hits");
  const body = { query, explain: true, where: conditions, ...(outside.domain() ? { model: outside.model() } : {}) };
  let found;
  try {
    found = await json("/v1/retrieve", body);
    if (number !== searches) return; // a later search is on its way
  } catch (error) {
    if (number !== searches) return;
    outside.refused(error);
    list.replaceChildren(element("li", { className: "fault" }, error.message));
    outside.said(error.message);
    return;
  }
  know(found.hits);
  const hits = found.hits.map(hit);
  list.replaceChildren(...(hits.length ? hits : [element("li", {}, conditions.length
    ? "Nothing was found that meets all conditions." : "Nothing was found.")]));
  outside.said(`${hits.length} passages`);
}

function hit(one) {
  const told = one.explanation;
  const open = element("button", { type: "button", className: "open" }, one.title || one.document_id);
  const page = one.page ? ` · page ${one.page}` : "";
  const passage = { ...one, heading: one.heading_path.join(" > ") };
  open.setAttribute("aria-expanded", "false");
  open.addEventListener("click", () => outside.open(passage, open, null, outside.domain(), told?.marks ?? null));
  const text = passageText(one.text, null, told?.marks ?? []);
  text.tabIndex = 0;
  return element("li", { dir: "auto" }, open,
    element("div", { className: "path" }, `${passage.heading}${page} · ${one.document_id}`), text, metadata(one),
    why(one, told));
}

// What is said of the document; one click makes a condition of it.
function metadata(one) {
  const values = Object.entries(one.metadata ?? {}).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  return element("div", { className: "scores" }, ...values.slice(0, 20).map(([name, value]) => {
    const button = element("button", { type: "button", className: "chip" }, `${name}: ${value}`);
    button.setAttribute("aria-label", `Only where ${name} is ${value}`);
    button.addEventListener("click", () => add(`${FIELDS.includes(name) ? `metadata.${name}` : name}=${value}`));
    return button;
  }));
}

function why(one, told) {
  const scores = [["score", one.score], ["cosine", one.dense_score], ["BM25", one.lexical_score],
    ["reranker", one.rerank_score]].filter(([, value]) => typeof value === "number")
    .map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`).join(" · ");
  if (!told) return element("div", { className: "scores" }, scores);
  return element("details", { className: "why" }, element("summary", {}, `${scores} · why here?`),
    element("ul", {}, ...told.sentences.map((sentence) => element("li", { dir: "auto" }, sentence))));
}
