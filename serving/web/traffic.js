// What an operator sees of requests: how many run and wait, and the last ones that went wrong.
import { element } from "/web/element.js";
import { json } from "/web/api.js";

// `of` makes the path of a route that of the domain that is looked at.
export async function queue(place, of) {
  let found;
  try {
    found = await json(of("/admin/queue"));
  } catch (error) {
    place.textContent = error.message;
    return;
  }
  const oldest = found.under_way ? `, the oldest for ${found.oldest_seconds.toFixed(1)} s` : "";
  place.textContent = `Now: ${found.running} running (up to ${found.max_running} for each model), ${found.waiting} waiting `
    + `(up to ${found.max_queued}), ${found.searching} before the model${oldest}.`;
}

export async function errors(place, of) {
  let found;
  try {
    found = (await json(of("/admin/errors"))).data;
  } catch (error) {
    place.replaceChildren(element("p", { className: "fault" }, error.message));
    return;
  }
  if (!found.length) {
    place.replaceChildren(element("p", {}, "No request has gone wrong since the server began."));
    return;
  }
  // What somebody is reading or copying stays as it is until they are done.
  if (place.contains(document.activeElement) || (getSelection().toString() && place.contains(getSelection().anchorNode))) return;
  place.replaceChildren(table(["When", "What", "Why", "Request"], found.map((one) => [
    `${new Date(one.time * 1000).toLocaleString()}${one.times > 1 ? `, ${one.times} times` : ""}`,
    `${one.method} ${one.route}: ${one.status}`, one.sentence, element("code", {}, one.request_id)])));
}

export function table(titles, rows) {
  const made = element("div", { className: "scroll", tabIndex: 0 }, element("table", {},
    element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))),
    element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", { dir: "auto" }, cell)))))));
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", titles.join(", "));
  return made;
}
