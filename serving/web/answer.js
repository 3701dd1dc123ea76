// An answer as elements: Markdown, sanitised, with citations as buttons that open the passage.
import { element } from "/web/element.js";
import { marked } from "/web/marked.js";

const TAGS = ["p", "br", "strong", "em", "del", "code", "pre", "ul", "ol", "li", "blockquote", "h1", "h2", "h3", "h4",
  "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "hr", "a"];
const CITED = /\[(\d{1,3})\]/g;
const LONG = 200000;

export function rendered(text, passages, open) {
  // "[1]: ..." would define a link and vanish.
  const source = text.slice(0, LONG).replace(/^( {0,3})\[(\d{1,3})\]:/gm, "$1\\[$2]:");
  const fragment = window.DOMPurify.sanitize(marked.parse(source, { breaks: true, gfm: true }), {
    ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "start"], ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const block of fragment.querySelectorAll("p, li, blockquote, h1, h2, h3, h4, h5, h6, td, th")) block.dir = "auto";
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (const node of texts) if (!node.parentElement?.closest("code, pre, a")) cite(node, passages, open);
  if (text.length > LONG) fragment.append(element("p", { className: "fault" }, "The answer is longer than what is shown."));
  return fragment;
}

function cite(node, passages, open) {
  const pieces = [];
  let at = 0;
  for (const found of node.data.matchAll(CITED)) {
    const passage = passages.find((one) => one.number === Number(found[1]));
    if (!passage) continue;
    pieces.push(node.data.slice(at, found.index), chip(passage, open));
    at = found.index + found[0].length;
  }
  if (pieces.length) node.replaceWith(...pieces, node.data.slice(at));
}

export function chip(passage, open) {
  const made = element("button", { type: "button", className: "chip", title: passage.title }, String(passage.number));
  made.setAttribute("aria-label", `Source ${passage.number}: ${passage.title}`);
  made.setAttribute("aria-expanded", "false");
  made.addEventListener("click", () => open(passage, made));
  return made;
}

const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

// What an answer stands on, and where it came from, in words.
export function about(told) {
  const lines = [];
  const ground = told.grounding;
  if (ground) {
    const words = {
      true: "The cited passages hold what the answer says.",
      false: "The cited passages do not hold what the answer says.",
      unsure: "Whether the cited passages hold what the answer says cannot be told by its words.",
    };
    lines.push(`${words[String(ground.grounded)] ?? ""} ${ground.reason ?? ""}`.trim());
  }
  if (told.refused) lines.push(`Refused without asking the model: ${told.refused}`);
  if (told.invalid_citations) lines.push(`It names ${count(told.invalid_citations, "passage")} that it was not given.`);
  if (told.query) lines.push(`Searched for: ${told.query}`);
  if (told.dropped_turns) lines.push(`${count(told.dropped_turns, "earlier turn")} had no room.`);
  if (told.passages_dropped) lines.push(`${count(told.passages_dropped, "passage")} had no room.`);
  for (const note of told.notes ?? []) lines.push(note);
  const time = told.timings ?? {};
  const spent = [
    time.total_ms === undefined ? null : `${(time.total_ms / 1000).toFixed(1)} s`,
    told.index_version ? `search ${Math.round(time.retrieval_ms)} ms` : null,
    time.ttft_ms === undefined ? null : `first token ${Math.round(time.ttft_ms)} ms`,
    told.index_version ? `index ${told.index_version}` : null,
    told.model_version ? `model ${told.model_version}` : null,
  ];
  lines.push(spent.filter(Boolean).join(" · "));
  return element("div", { className: "about" }, ...lines.filter(Boolean).map((line) => element("p", { dir: "auto" }, line)));
}

// A passage with the sentence that supports the answer marked, where there is one, or the words that were looked for.
export function passageText(text, sentence, marks = null) {
  const at = sentence ? text.indexOf(sentence) : -1;
  const found = marks ?? (at < 0 ? [] : [[[...text.slice(0, at)].length, [...text.slice(0, at + sentence.length)].length]]);
  return element("div", { className: "passage", dir: "auto" }, ...withMarks(text, found));
}

// A text as parts, with ranges of its characters marked. The server counts characters, JavaScript halves of some.
function withMarks(text, ranges) {
  const letters = [...text];
  const parts = [];
  let done = 0;
  for (const [first, end] of ranges) {
    parts.push(letters.slice(done, first).join(""), element("mark", {}, letters.slice(first, end).join("")));
    done = end;
  }
  return [...parts, letters.slice(done).join("")];
}
