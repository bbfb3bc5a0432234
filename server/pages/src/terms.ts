// The words of the pages, explained where the mouse rests or the focus is.

import { el } from "./dom";

const TERMS: Record<string, string> = {
  alpha: "Alpha weighs two wishes: 0 picks the images that the model is least sure of, 1 those that look least like the labelled ones.",
  uncertainty: "The model's uncertainty (entropy), averaged over the image. It only compares images of this pool under one model: high means that the model is undecided, not that something is abnormal.",
  cluster: "A group of images that look alike to the encoder. The first picks are spread over the clusters.",
  "cold start": "The first labels, before there is a model that could help to choose.",
  bridging: "The first labels are there, and the first model is not ready yet. Until then, images come that look least like the labelled ones.",
  active: "There is a model, and after each batch of labels comes a new one.",
  preparing: "The images are read and compared. Until that is done, they come at random.",
  done: "Every image is labelled or skipped.",
  round: "One model, and the images that are chosen with its help.",
  "held out": "Labelled, but never trained on: models are measured on these images.",
  Dice: "Overlap of the prediction and the label: 0 is none, 1 is the same.",
  "handed out": "Somebody has this image open, and it is reserved for them.",
  skipped: "Nobody is offered this image until the skip is undone.",
};

/** Return a word that explains itself; other words are returned as they are. */
export function term(word: string, shown = word): HTMLElement | string {
  if (!(word in TERMS)) return shown;
  return el("span", { class: "term", tabindex: 0, "data-term": word }, shown);
}

let tip: HTMLElement | null = null;

/** Show explanations on this page. */
export function explainTerms(): void {
  tip = el("div", { class: "tip", id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => show(termAt(event)));
  for (const name of ["pointerout", "focusout", "scroll"]) document.addEventListener(name, () => show(null), true);
  document.addEventListener("keydown", (event) => event.key === "Escape" && show(null));
}

function termAt(event: Event): HTMLElement | null {
  return event.target instanceof Element ? event.target.closest("[data-term]") : null;
}

function show(word: HTMLElement | null): void {
  const box = tip as HTMLElement;
  for (const other of document.querySelectorAll("[aria-describedby='tip']")) other.removeAttribute("aria-describedby");
  box.hidden = !word;
  if (!word) return;
  box.textContent = TERMS[word.dataset.term as string];
  word.setAttribute("aria-describedby", "tip");
  const { left, bottom, top } = word.getBoundingClientRect();
  box.style.left = `${Math.max(8, Math.min(left, innerWidth - box.offsetWidth - 8))}px`;
  const below = bottom + 6 + box.offsetHeight < innerHeight;
  box.style.top = `${below ? bottom + 6 : Math.max(8, top - 6 - box.offsetHeight)}px`;
}
