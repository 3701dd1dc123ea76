// What an operator sees and does: versions to go forward and back to, refreshes, and how the server is.
import { element } from "/web/element.js";
import { json } from "/web/api.js";
import { showDrift } from "/web/drift.js";
import { errors, queue } from "/web/traffic.js";
import { evaluation, golden } from "/web/quality.js";

const SECONDS = 5;
const KEPT = 120;
const CARDS = ["#golden", "#evaluation", "#queue", "#errors"];
const CHARTS = [
  { title: "Requests a second", metric: "ragft_requests_total", where: 'route="/v1/', scale: 1 },
  { title: "Not answered a second", metric: "ragft_requests_rejected_total", scale: 1 },
  { title: "Mean of the first token, ms", metric: "ragft_stage_seconds_sum", where: 'stage="first_token"',
    per: "ragft_stage_seconds_count", scale: 1000 },
];

let place = null;
let domain = null;
let timer = null;
let seen = [];

const of = (path) => (domain ? `${path}?domain=${encodeURIComponent(domain)}` : path);

// Shows the page for the domains of these models; returns whether this session may operate anything.
export async function prepare(where, models) {
  place = where;
  const domains = [...new Set(models.filter((name) => name.includes("/")).map((name) => name.split("/")[0]))];
  [domain = null] = domains;
  const choice = place.querySelector("#of-domain");
  choice.parentElement.hidden = domains.length < 2;
  choice.replaceChildren(...domains.map((name) => element("option", { value: name }, name)));
  choice.onchange = () => { domain = choice.value; show(); };
  try {
    await json(of("/admin/versions"));
    return true;
  } catch {
    return false;
  }
}

export async function show() {
  clearInterval(timer);
  seen = [];
  CARDS.forEach(renew);
  timer = setInterval(look, SECONDS * 1000);
  showDrift(place, of("/admin/drift"));
  await versions();
  await look();
  await Promise.all([golden(at("#golden"), of), evaluation(at("#evaluation"), of)]);
}

const at = (name) => place.querySelector(name);

// An answer about the domain before that comes late changes a card that is no longer shown.
function renew(name) {
  at(name).replaceWith(at(name).cloneNode(false));
}

// What changes by itself.
const look = () => Promise.all([watch(), queue(at("#queue"), of), errors(at("#errors"), of)]);

export const hide = () => clearInterval(timer);

function told(text, isFault = false) {
  const box = place.querySelector("#operated");
  box.replaceChildren(element("p", { className: isFault ? "fault" : "" }, text));
  return box;
}

async function versions() {
  const asked = domain;
  let found;
  try {
    found = await json(of("/admin/versions"));
  } catch (error) {
    if (asked === domain) told(error.message, true);
    return;
  }
  if (asked !== domain) return;
  const live = new Set(Object.values(found.models));
  const rows = [
    ["Setups", found.setups.join(", ")],
    ...Object.entries(found.models).map(([name, version]) => [`Model ${name}`, version]),
    ["Index", found.index_version ?? "none"],
    ["Since", new Date(found.started * 1000).toLocaleString()],
  ];
  place.querySelector("#serving").replaceChildren(...rows.flatMap(([name, value]) => [
    element("dt", {}, name), element("dd", {}, value)]));
  place.querySelector("#snapshots").replaceChildren(...[...found.available.snapshots].reverse().map((one) => line(
    one.id, one.created, one.id === found.index_version, "Serve this snapshot",
    () => act("/admin/index/rollback", { snapshot: one.id }, `The index serves snapshot ${one.id}.`))));
  place.querySelector("#models").replaceChildren(...found.available.models.map((one) => line(
    one.model, one.created, live.has(one.version), "Serve this model",
    () => act("/admin/models/deploy", { model: one.model }, `Model ${one.model} serves.`), one.version === null)));
  for (const [list, what] of [["#snapshots", "snapshot"], ["#models", "model"]]) {
    if (!place.querySelector(list).children.length) {
      place.querySelector(list).append(element("li", {}, `This workspace has no ${what} of its own.`));
    }
  }
}

function line(name, created, isLive, verb, work, isBarred = false) {
  const button = element("button", { type: "button", disabled: isLive || isBarred }, isLive ? "Serves now" : verb);
  button.addEventListener("click", work);
  return element("li", {}, element("code", {}, name), ` ${new Date(created).toLocaleString()} `, button);
}

async function act(path, body, done) {
  told("Working …");
  try {
    const answer = await json(of(path), body);
    told(done);
    await Promise.all([versions(), golden(at("#golden"), of), evaluation(at("#evaluation"), of)]);
    return answer;
  } catch (error) {
    told(error.message, true);
    return null;
  }
}

export async function refresh(dryRun) {
  const found = await act("/admin/index/refresh", { dry_run: dryRun }, "Done.");
  if (!found) return;
  const counts = ["added", "changed", "removed", "unchanged"].map((name) => `${found[name]} ${name}`).join(", ");
  const box = told(dryRun ? `A refresh would find: ${counts}.` : `${found.published ? "A new snapshot serves" : "Nothing changed"}: ${counts}.`);
  const listed = [...found.skipped.map((one) => [one, "skipped"]), ...found.kept.map((one) => [one, "kept as it was"])];
  if (listed.length) {
    box.append(element("ul", {}, ...listed.map(([one, what]) => element("li", { dir: "auto" }, `${one.path}: ${what}, because ${one.reason}`))));
  }
}

// --- metrics --------------------------------------------------------------------------------------------------------

async function watch() {
  let text;
  try {
    const response = await fetch("/metrics", { credentials: "same-origin" });
    if (!response.ok) return;
    text = await response.text();
  } catch {
    return;
  }
  const sums = Object.fromEntries(CHARTS.flatMap((chart) => [chart.metric, chart.per].filter(Boolean)
    .map((name) => [name, sum(text, name, chart.where)])));
  seen = [...seen, { at: Date.now() / 1000, sums }].slice(-KEPT);
  place.querySelector("#charts").replaceChildren(...CHARTS.map(chart));
}

// The sum of a metric over the labels of this domain.
function sum(text, name, where) {
  return text.split("\n").filter((one) => one.startsWith(`${name}{`) && (!where || one.includes(where))
    && (!domain || one.includes(`domain="${domain}"`) || !one.includes("domain=")))
    .reduce((total, one) => total + Number(one.slice(one.lastIndexOf(" "))), 0);
}

function chart({ title, metric, per, scale }) {
  const values = seen.slice(1).map((now, at) => {
    const before = seen[at];
    const by = per ? now.sums[per] - before.sums[per] : now.at - before.at;
    return by > 0 ? (scale * (now.sums[metric] - before.sums[metric])) / by : 0;
  });
  const most = Math.max(...values, 1e-9);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 240 48");
  svg.setAttribute("role", "img");
  const last = values.length ? values[values.length - 1] : 0;
  svg.setAttribute("aria-label", `${title}: ${last.toPrecision(3)} now, at most ${most.toPrecision(3)}`);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  path.setAttribute("points", values.map((value, at) => `${(240 * at) / Math.max(1, KEPT - 2)},${46 - (44 * value) / most}`).join(" "));
  svg.append(path);
  return element("figure", { className: "chart" }, element("figcaption", {}, `${title}: ${Number(last.toPrecision(3))}`), svg);
}
