// Tabs that follow the ARIA practices: arrow keys switch between them.

import { byId } from "./dom";

export class Tabs {
  constructor(
    private readonly names: string[],
    private readonly changed: (name: string) => void,
  ) {
    names.forEach((name, at) => {
      const tab = byId(`tab-${name}`);
      tab.addEventListener("click", () => this.show(name));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = names[(at + step + names.length) % names.length];
        this.show(next);
        byId(`tab-${next}`).focus();
      });
    });
  }

  show(name: string): void {
    for (const one of this.names) {
      const tab = byId(`tab-${one}`);
      tab.setAttribute("aria-selected", String(one === name));
      tab.tabIndex = one === name ? 0 : -1;
      byId(`panel-${one}`).hidden = one !== name;
    }
    this.changed(name);
  }
}
