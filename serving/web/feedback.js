// What whoever asked says of an answer: a thumb, and for a bad one a form with what would have been right.
import { element } from "/web/element.js";
import { json } from "/web/api.js";

const REASONS = {
  "": "No reason given", wrong: "It is wrong", incomplete: "It is incomplete", outdated: "It is outdated",
  unsupported: "Its sources do not say so", "off-topic": "It answers something else",
  refused: "It refuses, but the documents tell", style: "It is badly written", other: "Something else",
};

// Two buttons for an answer, and the place where the form opens; `refused` is told of errors, `said` when it is kept.
export function thumbs(answer, { refused, said }) {
  const place = element("div");
  const button = (thumb, text) => {
    const made = element("button", { type: "button", className: thumb }, text);
    made.setAttribute("aria-pressed", String(answer.thumb === thumb));
    return made;
  };
  const good = button("good", "Good answer");
  const bad = button("bad", "Bad answer");
  bad.setAttribute("aria-expanded", "false");
  const fault = element("p", { className: "fault" });
  fault.setAttribute("role", "alert");

  const close = () => {
    place.replaceChildren();
    bad.setAttribute("aria-expanded", "false");
  };
  const send = async (body) => {
    fault.textContent = "";
    good.disabled = bad.disabled = true;
    try {
      await json("/v1/feedback", { id: answer.id, ...body });
    } catch (error) {
      fault.textContent = error.message;
      place.append(fault);
      refused(error);
      return;
    } finally {
      good.disabled = bad.disabled = false;
    }
    answer.thumb = body.thumb;
    good.setAttribute("aria-pressed", String(body.thumb === "good"));
    bad.setAttribute("aria-pressed", String(body.thumb === "bad"));
    const inForm = place.contains(document.activeElement);
    close();
    if (inForm) bad.focus();
    said();
  };

  good.addEventListener("click", () => { close(); send({ thumb: "good" }); });
  bad.addEventListener("click", () => {
    if (place.querySelector("form")) {
      close();
      return;
    }
    const form = formFor(answer, send, () => { close(); bad.focus(); });
    place.replaceChildren(form);
    bad.setAttribute("aria-expanded", "true");
    form.querySelector("select").focus();
  });
  return { buttons: [good, bad], place };
}

function formFor(answer, send, cancel) {
  const choice = (name, values) => {
    const made = element("select", { name });
    made.append(...values.map(([value, text]) => element("option", { value }, text)));
    return made;
  };
  const field = (text, control) => element("label", {}, element("span", {}, text), control);
  const passages = answer.told?.passages ?? [];
  const sources = passages.map((one) => [
    one.heading ? `${one.document_id}#${one.heading}` : one.document_id, `${one.number}: ${one.heading || one.title}`,
  ]);
  const fields = [field("What is wrong with it?", choice("reason", Object.entries(REASONS))),
    field("What would be right?", element("textarea", { name: "corrected_answer", rows: 3, maxLength: 20000, dir: "auto" }))];
  if (sources.length) {
    fields.push(field("Where does that stand?", choice("source", [["", "In none of these passages"], ...sources])));
  }
  fields.push(field("Anything else?", element("textarea", { name: "comment", rows: 2, maxLength: 20000, dir: "auto" })));
  const leave = element("button", { type: "button" }, "Cancel");
  const form = element("form", { className: "feedback" }, ...fields,
    element("div", { className: "acts" }, element("button", { type: "submit" }, "Send"), leave));
  form.setAttribute("aria-label", "What is wrong with the answer");
  leave.addEventListener("click", cancel);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    cancel();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const told = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
    send({ thumb: "bad", ...Object.fromEntries(told) });
  });
  return form;
}
