// Which of several answers is the best: asked under their columns, with the names of the setups hidden if wanted.
//
// The page shuffles, and not the server, because the page asks each setup by its name and so knows them anyway: what
// must not know them is the eye. The order is drawn by the browser's cryptographic generator, which nobody can guess or
// repeat, and goes along with the vote, so that a habit of choosing the first one can be counted.
import { element } from "/web/element.js";
import { json } from "/web/api.js";

export function shuffled(names) {
  const order = [...names];
  for (let at = order.length - 1; at > 0; at -= 1) {
    const other = below(at + 1);
    [order[at], order[other]] = [order[other], order[at]];
  }
  return order;
}

// A number from 0 to `most` - 1, each as likely as the others: what would favour the first ones is drawn again.
function below(most) {
  const limit = 2 ** 32 - (2 ** 32 % most);
  for (;;) {
    const [drawn] = crypto.getRandomValues(new Uint32Array(1));
    if (drawn < limit) return drawn % most;
  }
}

export const isHidden = (turn) => Boolean(turn.blind) && !turn.choice;

// Only between answers that are whole, and that the server knows.
export const canVote = (turn) => turn.answers.length > 1
  && turn.answers.every((answer) => answer.id && answer.told && !answer.fault && !answer.stopped);

// The buttons for a turn; after a choice, what it was. `shown` is told when the names may be seen.
export function voteFor(turn, { names, refused, shown }) {
  const box = element("div", { className: "vote", tabIndex: -1 });
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Which answer is the best?");
  if (turn.choice) {
    box.append(element("p", {}, said(turn)));
    return box;
  }
  const fault = element("p", { className: "fault" });
  fault.setAttribute("role", "alert");
  const buttons = [...names.map((name, at) => [name, at + 1]), ["All equally good", "tie"], ["None is good", "none"]]
    .map(([name, choice]) => {
      const button = element("button", { type: "button" }, name);
      button.addEventListener("click", () => send(choice));
      return button;
    });
  if (isHidden(turn)) {
    const show = element("button", { type: "button", className: "reveal" }, "Show the names without choosing");
    show.addEventListener("click", () => {
      turn.blind = false;
      turn.choice = "unsaid";
      shown("The names are shown; nothing was chosen.");
    });
    buttons.push(show);
  }
  const send = async (choice) => {
    fault.textContent = "";
    for (const button of buttons) button.disabled = true;
    try {
      await json("/v1/preference", { answers: turn.answers.map((one) => one.id), choice, blind: isHidden(turn) });
    } catch (error) {
      fault.textContent = error.message;
      refused(error);
      for (const button of buttons) button.disabled = false;
      return;
    }
    turn.choice = choice;
    shown(said(turn));
  };
  box.append(element("p", {}, "Which answer is the best?"), element("div", { className: "acts" }, ...buttons), fault);
  return box;
}

function said(turn) {
  if (turn.choice === "unsaid") return "Nothing was chosen.";
  const what = turn.choice === "tie" ? "all are equally good" : turn.choice === "none" ? "none is good"
    : `${turn.answers[turn.choice - 1].setup}, in place ${turn.choice} of ${turn.answers.length}`;
  return `You chose: ${what}. That is kept.`;
}
