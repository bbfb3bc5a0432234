// The list of structures: which one is drawn, which are shown, and in which colours.

import { byId, dot, el } from "../dom";
import type { Drawing } from "./drawing";
import type { Structure } from "./server";
import type { View } from "./view";

const FIND_FROM = 6; // structures, from which on there is a field to find one

export class Structures {
  private all: Structure[] = [];
  private opacity = 0.3;
  private isHidden = false; // all of them, by the button Hide
  private readonly list = byId("structures");
  private readonly find = byId<HTMLInputElement>("find");

  constructor(private readonly drawing: Drawing, private readonly view: View) {
    const opacity = byId<HTMLInputElement>("opacity");
    opacity.addEventListener("input", () => {
      this.opacity = Number(opacity.value) / 100;
      this.colour();
    });
    this.find.addEventListener("input", () => this.draw());
    this.find.addEventListener("keydown", (event) => this.found(event));
  }

  set(all: Structure[]): void {
    this.all = all;
    this.find.hidden = all.length < FIND_FROM;
    this.drawing.value = all[0]?.value ?? 1;
    this.colour();
    this.draw();
  }

  /** Return the name of a value; "" for the background. */
  readonly name = (value: number): string => this.all.find((one) => one.value === value)?.name ?? (value ? String(value) : "");

  /** Choose by place in the list, from 1. */
  choose(number: number): void {
    const one = this.all[number - 1];
    if (one) this.take(one);
  }

  focusFind(): void {
    if (!this.find.hidden) this.find.focus();
  }

  get hidden(): boolean {
    return this.isHidden;
  }

  hide(hidden: boolean): void {
    this.isHidden = hidden;
    byId("hide").setAttribute("aria-pressed", String(hidden));
    this.colour();
  }

  draw(): void {
    const word = this.find.value.trim().toLowerCase();
    const shown = this.all.filter((one) => one.name.toLowerCase().includes(word));
    const focused = this.list.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.id : null;
    this.list.replaceChildren(...shown.map((one) => this.item(one)));
    if (focused) this.list.querySelector<HTMLElement>(`[data-id="${focused}"]`)?.focus();
  }

  private item(one: Structure): HTMLElement {
    const number = this.all.indexOf(one) + 1;
    const count = this.drawing.mask.counts.get(one.value) ?? 0;
    const key = el("kbd", { "aria-hidden": "true" }, number < 10 ? String(number) : "");
    const size = el("small", { title: `${count.toLocaleString("en")} voxels` }, count ? compact(count) : "");
    const button = el("button", { type: "button", "aria-pressed": String(one.value === this.drawing.value), "data-id": `choose ${one.value}` });
    if (number < 10) button.setAttribute("aria-keyshortcuts", String(number));
    button.append(key, dot(`rgb(${one.colour.join(",")})`), el("span", { class: "name" }, one.name), size);
    button.addEventListener("click", () => this.take(one));
    const box = el("input", { type: "checkbox", "aria-label": `Show ${one.name}`, title: "Show; what is hidden is not changed", "data-id": `show ${one.value}` });
    box.checked = !this.drawing.hidden.has(one.value);
    box.addEventListener("change", () => this.show(one, box.checked));
    return el("li", {}, button, box);
  }

  private take(one: Structure): void {
    this.drawing.hidden.delete(one.value); // what is drawn has to be seen
    this.drawing.value = one.value;
    this.colour();
    this.draw();
  }

  private show(one: Structure, shown: boolean): void {
    if (shown) this.drawing.hidden.delete(one.value);
    else this.drawing.hidden.add(one.value);
    this.colour();
  }

  private colour(): void {
    const shown = this.isHidden ? [] : this.all.filter((one) => !this.drawing.hidden.has(one.value));
    this.view.setColours(new Map(shown.map((one) => [one.value, one.colour])), this.opacity);
  }

  private found(event: KeyboardEvent): void {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    const word = this.find.value.trim().toLowerCase();
    const first = this.all.find((one) => one.name.toLowerCase().includes(word));
    if (event.key === "Enter" && word && first) this.take(first);
    this.find.value = "";
    this.draw();
    this.view.canvas.focus();
    event.preventDefault();
  }
}

function compact(count: number): string {
  return count < 10_000 ? String(count) : new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(count);
}
