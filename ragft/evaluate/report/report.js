"use strict";
// Searching and filtering the questions, and passages beside the question that they were shown for.
(() => {
  const box = document.getElementById("filter");
  const words = document.getElementById("words");
  const choices = [...box.querySelectorAll("select")];
  const count = document.getElementById("count");
  const questions = [...document.querySelectorAll(".q")].map((element) => ({
    element,
    keys: new Set(element.dataset.k.split(" ")),
    text: null,
  }));

  const fold = (text) => text.normalize("NFKC").toLowerCase();

  function show() {
    const wanted = fold(words.value).split(/\s+/).filter(Boolean);
    const keys = choices.map((choice) => choice.value).filter(Boolean);
    let shown = 0;
    for (const question of questions) {
      let fits = keys.every((key) => question.keys.has(key));
      if (fits && wanted.length) {
        question.text ??= fold(question.element.textContent);
        fits = wanted.every((word) => question.text.includes(word));
      }
      question.element.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${questions.length} questions`;
  }

  function clear() {
    words.value = "";
    for (const choice of choices) choice.value = "";
  }

  // The text of a passage stands on the page once; a question that is opened gets copies of its own.
  function fill(question) {
    for (const link of question.querySelectorAll(".shown a:not([data-filled])")) {
      const text = document.getElementById(link.hash.slice(1))?.querySelector(".passage-text");
      if (text) link.parentElement.append(text.cloneNode(true));
      link.dataset.filled = "";
    }
  }

  function open(id) {
    const question = document.getElementById(id);
    if (!question?.matches(".q")) return;
    if (question.hidden) {
      clear();
      show();
    }
    question.open = true;
    question.scrollIntoView();
  }

  box.hidden = false;
  box.addEventListener("input", show);
  document.getElementById("clear").addEventListener("click", () => {
    clear();
    show();
    words.focus();
  });
  document.addEventListener("toggle", (event) => event.target.open && event.target.matches(".q") && fill(event.target), true);
  for (const link of document.querySelectorAll("[data-filter]")) {
    link.addEventListener("click", () => {
      clear();
      for (const choice of choices) {
        if ([...choice.options].some((option) => option.value === link.dataset.filter)) choice.value = link.dataset.filter;
      }
      show();
    });
  }
  window.addEventListener("hashchange", () => open(location.hash.slice(1)));
  show();
  open(location.hash.slice(1));
})();
