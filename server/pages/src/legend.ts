// The legend: the meaning of each colour, its number of images, and a filter of those shown.

import { RAMP } from "./colours";
import { dot, el, number } from "./dom";
import type { Colouring } from "./pool";
import { term } from "./terms";

/** Low end, high end, and what is said when there is no value; the term of the number. */
const WORDS: Record<string, [string, string, string, string]> = {
  entropy: ["lowest in this pool", "highest in this pool", "No model has been applied to the pool yet.", "uncertainty"],
  quality: ["0: no overlap", "1: same as the label", "No model has been measured on held-out labels yet.", "Dice"],
};

const ALWAYS = 6; // states listed even when no image has them

/** Draw the legend; `hidden` holds the entries filtered out, and changes with the user's clicks. */
export function drawLegend(
  into: HTMLElement,
  colours: Colouring,
  by: string,
  hidden: Set<number>,
  changed: () => void,
): void {
  const list = el("ul", { class: "legend" });
  colours.names.forEach((name, entry) => {
    if (!colours.counts[entry] && (by !== "state" || entry >= ALWAYS)) return;
    const box = el("input", { type: "checkbox" });
    box.checked = !hidden.has(entry);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(entry);
      else hidden.add(entry);
      changed();
    });
    const color = colours.range ? colours.colors[entry ? RAMP.length : RAMP.length / 2] : colours.colors[entry];
    const count = el("span", { class: "count" }, colours.counts[entry].toLocaleString("en"));
    list.append(el("li", { "data-entry": name }, el("label", {}, box, dot(color), name, count)));
  });
  const parts: Node[] = [];
  if (by === "cluster") parts.push(el("p", { class: "quiet" }, term("cluster", "Clusters"), " of images that look alike"));
  if (colours.range) {
    const [low, high, none, word] = WORDS[by];
    if (colours.counts[0]) parts.push(...ramp(colours.range, low, high, word));
    else parts.push(el("p", { class: "quiet" }, none));
  }
  into.replaceChildren(...parts, list);
}

function ramp([low, high]: [number, number], least: string, most: string, word: string): Node[] {
  const bar = el("canvas", { class: "ramp", width: RAMP.length, height: 1, "aria-hidden": "true" });
  const pen = bar.getContext("2d")!;
  RAMP.forEach((color, step) => {
    pen.fillStyle = color;
    pen.fillRect(step, 0, 1, 1);
  });
  const unit = word === "Dice" ? "" : " nats";
  const title = (value: number): string => `${word} ${number(value)}${unit}`;
  return [
    el("p", { class: "quiet" }, term(word, word === "Dice" ? "Dice on held-out images" : "Uncertainty of the newest model")),
    bar,
    el("div", { class: "ramp-ends" }, el("span", { title: title(low) }, least), el("span", { title: title(high) }, most)),
  ];
}
