// The buttons of the tools, their keys, and their settings.

import { byId, el } from "../dom";
import type { Drawing, Once, Tool } from "./drawing";
import type { Structures } from "./structures";
import type { View } from "./view";

export class Toolbox {
  private readonly buttons = [...document.querySelectorAll<HTMLButtonElement>(".toolbox button")];
  private readonly size = byId<HTMLInputElement>("size");
  private readonly low = byId<HTMLInputElement>("range-low");
  private readonly high = byId<HTMLInputElement>("range-high");

  constructor(private readonly drawing: Drawing, private readonly view: View, private readonly structures: Structures) {
    for (const button of this.buttons) {
      const { key } = button.dataset;
      if (key) {
        button.setAttribute("aria-keyshortcuts", key);
        button.append(el("kbd", { "aria-hidden": "true" }, key));
      }
      button.addEventListener("click", () => this.act(button));
    }
    this.size.addEventListener("input", () => drawing.resize(Number(this.size.value)));
    for (const input of [this.low, this.high])
      input.addEventListener("change", () => (drawing.range = [Number(this.low.value), Number(this.high.value)]));
    this.draw();
  }

  /** Press the button that has a key; return whether there is one. */
  press(key: string): boolean {
    const button = this.buttons.find((one) => one.dataset.key === key);
    button?.click();
    return !!button;
  }

  draw(): void {
    const { drawing } = this;
    for (const button of this.buttons)
      if (button.dataset.tool) button.setAttribute("aria-pressed", String(button.dataset.tool === drawing.tool));
    byId<HTMLButtonElement>("undo").disabled = !drawing.canUndo;
    byId<HTMLButtonElement>("redo").disabled = !drawing.canRedo;
    this.size.value = String(drawing.size);
    byId("size-shown").textContent = `${drawing.size} px`;
    byId("range").hidden = drawing.tool !== "threshold brush";
    [this.low.value, this.high.value] = drawing.range.map(String);
    this.view.canvas.dataset.tool = drawing.tool;
  }

  private act(button: HTMLButtonElement): void {
    const { tool, once } = button.dataset;
    if (tool) this.drawing.choose(tool as Tool);
    else if (once) this.drawing.apply(once as Once);
    else if (button.id === "undo") this.drawing.undo();
    else if (button.id === "redo") this.drawing.redo();
    else if (button.id === "fit") this.view.fit();
    else if (button.id === "hide") this.structures.hide(!this.structures.hidden);
    else if (button.id === "invert") {
      this.view.look.invert = !this.view.look.invert;
      button.setAttribute("aria-pressed", String(this.view.look.invert));
      this.view.redraw();
    }
  }
}
