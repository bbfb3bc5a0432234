// Questions to the reader: a name, a reason.

import { el } from "../dom";

interface Question {
  title: string;
  text: string;
  label: string;
  value?: string;
  /** offered as a choice of values, beside free text */
  choices?: string[];
  accept: string;
  refuse: string;
  required?: boolean;
}

/** Ask for a line of text; null when it is refused. */
export function askText(question: Question): Promise<string | null> {
  const input = el("input", { type: "text", maxlength: 100, autocomplete: "off", "aria-label": question.label, required: !!question.required });
  input.value = question.value ?? "";
  const list = el("datalist", { id: "choices" }, ...(question.choices ?? []).map((value) => el("option", { value })));
  if (question.choices) input.setAttribute("list", "choices");
  const refuse = el("button", { type: "button" }, question.refuse);
  const accept = el("button", { type: "submit", class: "main" }, question.accept);
  const form = el("form", { method: "dialog" }, el("h2", { id: "question" }, question.title), el("p", { class: "quiet" }, question.text));
  form.append(el("label", { class: "field" }, question.label, input), list, el("div", { class: "row" }, refuse, accept));
  const box = el("dialog", { "aria-labelledby": "question" }, form);
  document.body.append(box);
  box.showModal();
  return new Promise((done) => {
    const close = (value: string | null): void => {
      box.remove();
      done(value);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      close(input.value.trim());
    });
    refuse.addEventListener("click", () => close(null));
    box.addEventListener("cancel", () => close(null));
  });
}
