// A card on drift: what moved of the questions that are asked, and which to begin with. It knows nothing of the page.
import { element } from "/web/element.js";
import { json } from "/web/api.js";
import { table } from "/web/traffic.js";

const SHARES = new Set(["questions", "refused", "ungrounded", "language"]);
const OTHERS = { evaluation: "the evaluation", before: "the weeks before" };

// Shows the card at the end of a place. It is asked for by hand: the answer takes the server seconds.
export function showDrift(place, path) {
  place.querySelector("#drift")?.remove();
  const button = element("button", { type: "button" }, "Do people ask something else now?");
  const box = element("div", { className: "card", hidden: true });
  box.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    button.disabled = true;
    box.hidden = false;
    box.replaceChildren(element("p", {}, "Comparing questions …"));
    try {
      box.replaceChildren(...told(await json(path)));
    } catch (error) {
      box.replaceChildren(element("p", { className: "fault" }, error.message));
    } finally {
      button.disabled = false;
    }
  });
  place.append(element("section", { id: "drift" }, element("h2", {}, "Drift"), element("p", {}, button), box));
}

function told(found) {
  const counts = `${found.asked} questions in the last ${found.days} days, ${found.asked_before} in the `
    + `${found.days_before} before, ${found.evaluated} in the evaluation.`;
  const parts = [element("p", {}, counts)];
  for (const one of found.advice) {
    parts.push(element("p", {}, one.text));
    if (one.begin.length) {
      parts.push(element("ul", {}, ...one.begin.map((kind) => element("li", { dir: "auto" },
        kind.count > 1 ? `${kind.question} (${kind.count} like it)` : kind.question))));
    }
  }
  parts.push(...found.remarks.map((remark) => element("p", {}, remark)));
  if (found.compared.length) parts.push(compared(found.compared));
  return parts;
}

function compared(found) {
  const shown = (one, figure) => (SHARES.has(one.what) ? `${(100 * figure).toFixed(1)} %` : figure.toFixed(2));
  return table(["What", "Recent", "There", "Beside", "Moved"], found.map((one) => [`${one.title} ${one.language}`.trim(), shown(one, one.recent),
    shown(one, one.reference), OTHERS[one.against], one.moved ? "has moved" : ""]));
}
