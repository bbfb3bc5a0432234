// What the page says: below the image, or in place of it.

import { byId, el } from "../dom";

/** A button in a message: its text, and what it does. */
export type Choice = [string, () => unknown];

/** Say something below the image. */
export function say(text: string, choices: Choice[] = [], wrong = false): void {
  const place = byId("message");
  place.replaceChildren(text, ...choices.map(buttonOf));
  place.classList.toggle("wrong", wrong);
}

/** Say something in place of the image. */
export function notice(text: string, choices: Choice[]): void {
  byId("notice").hidden = false;
  byId("notice").replaceChildren(el("p", {}, text), ...choices.map(buttonOf));
}

export function hideNotice(): void {
  byId("notice").hidden = true;
}

function buttonOf([text, act]: Choice): HTMLElement {
  const button = el("button", { type: "button" }, text);
  button.addEventListener("click", act);
  return button;
}
