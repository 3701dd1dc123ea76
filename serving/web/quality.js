// What an operator sees of how good it is: the golden questions with the ranks of their sources, and the evaluation.
import { element } from "/web/element.js";
import { json } from "/web/api.js";
import { table } from "/web/traffic.js";

// `of` makes the path of a route that of the domain that is looked at.
export async function golden(place, of) {
  if (!place.children.length) place.replaceChildren(element("p", {}, "Asking …"));
  let found;
  try {
    found = await json(of("/admin/golden"));
  } catch (error) {
    place.replaceChildren(element("p", {}, error.message));
    return;
  }
  const hits = found.questions.filter((one) => one.found).length;
  const left = found.left_out ? ` ${found.left_out} more in the file were not asked.` : "";
  const rank = (value) => (value === null ? `not in ${found.looked_to}` : String(value));
  place.replaceChildren(
    element("p", {}, `${hits} of ${found.questions.length} find their sources within the first ${found.k} passages.${left} `
      + (found.before ? `Before: snapshot ${found.before}.` : "There is no snapshot before to compare with.")),
    table(["Rank now", "Before", "Question", "Source"], found.questions.flatMap((one) => one.sources.map((source, at) => [
      `${rank(source.rank)}${found.before ? moved(source) : ""}`, found.before ? rank(source.before) : "–",
      at ? "" : element("span", { className: one.found ? "" : "ko" }, `${one.found ? "" : "Not found: "}${one.question}`),
      element("span", { className: "path" }, source.source)]))));
}

function moved(source) {
  const [now, before] = [source.rank ?? Infinity, source.before ?? Infinity];
  return now < before ? " ↑" : now > before ? " ↓" : "";
}

export async function evaluation(place, of) {
  let found;
  try {
    found = await json(of("/admin/evaluation"));
  } catch (error) {
    place.replaceChildren(element("p", {}, error.message));
    return;
  }
  const open = element("a", { href: of("/admin/evaluation/report"), target: "_blank", rel: "noopener" }, "Open the report");
  const names = [...new Set(Object.values(found.figures).flatMap((of_setup) => Object.keys(of_setup ?? {})))];
  const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(3))) : "–");
  place.replaceChildren(
    element("p", {}, "Evaluation ", element("code", {}, found.evaluation), ` of ${new Date(found.created).toLocaleString()}. `),
    element("p", { className: found.of_what_serves === false ? "ko" : "" }, found.sentence),
    table(["Setup", ...names], Object.entries(found.figures).map(([setup, values]) => [setup, ...names.map((name) => shown(values?.[name]))])),
    element("p", {}, open));
}
