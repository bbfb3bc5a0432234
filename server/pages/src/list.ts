// All images as a list: the alternative to the map without a mouse or without sight.

import { byId, dot, el } from "./dom";
import type { Colouring, Pool } from "./pool";

const MAX_ROWS = 300; // rows drawn

interface Events {
  walked: (row: number) => void;
  opened: (row: number) => void;
  marked: (row: number) => void;
}

export class ListPanel {
  private readonly find = el("input", { type: "search", "aria-label": "Find by name", placeholder: "Find by name" });
  private readonly order = el("select", { id: "order" });
  private readonly box = el("div", { class: "images", role: "listbox", tabindex: 0, "aria-label": "Images" });
  private readonly more = el("p", { class: "quiet", role: "status" });
  private rows: number[] = [];
  private at = 0;
  private pool: Pool | null = null;
  private colours: Colouring | null = null;
  private shown: (row: number) => boolean = () => true;
  private plan: number[] = [];
  private marked: Set<number> = new Set();
  private here = -1;

  constructor(private readonly events: Events) {
    for (const [value, text] of [["plan", "plan"], ["near", "nearest to the open image"], ["entropy", "most uncertain"], ["name", "name"]])
      this.order.append(el("option", { value }, text));
    byId("panel-list").append(
      this.find,
      el("label", { class: "field" }, "Order", this.order),
      this.more,
      this.box,
    );
    this.find.addEventListener("input", () => this.draw());
    this.order.addEventListener("change", () => this.draw());
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("click", (event) => {
      const option = (event.target as HTMLElement).closest("[data-at]") as HTMLElement | null;
      if (!option) return;
      this.walk(Number(option.dataset.at));
      this.events.opened(this.rows[this.at]);
    });
  }

  show(pool: Pool, colours: Colouring, shown: (row: number) => boolean): void {
    [this.pool, this.colours, this.shown] = [pool, colours, shown];
    this.draw();
  }

  setPlan(rows: number[]): void {
    this.plan = rows;
    this.draw();
  }

  setMarked(rows: Set<number>): void {
    this.marked = rows;
    this.draw();
  }

  setHere(row: number): void {
    this.here = row;
    if (this.order.value === "near" && !this.box.contains(document.activeElement)) this.draw();
  }

  /** Redraw the list, if it is visible. */
  draw(): void {
    const { pool, colours } = this;
    if (!pool || !colours || byId("panel-list").hidden) return;
    const word = this.find.value.trim().toLowerCase();
    const before = this.rows[this.at];
    const all: number[] = [];
    pool.ids.forEach((id, row) => {
      if (this.shown(row) && (!word || id.toLowerCase().includes(word))) all.push(row);
    });
    this.rows = sorted(all, this.sortKey(pool)).slice(0, MAX_ROWS);
    this.at = Math.max(0, this.rows.indexOf(before));
    const less = all.length > MAX_ROWS ? `; the first ${MAX_ROWS} are listed` : "";
    this.more.textContent = `${all.length.toLocaleString("en")} images${less}. Arrow keys move, Enter opens, Space marks.`;
    this.box.replaceChildren(...this.rows.map((row, at) => this.option(pool, colours, row, at)));
    this.box.setAttribute("aria-multiselectable", "true");
    this.point();
  }

  /** Return the sort key of the chosen order: lower comes first. */
  private sortKey(pool: Pool): (row: number) => number {
    if (this.order.value === "plan") {
      const rank = new Map(this.plan.map((row, at) => [row, at]));
      return (row) => rank.get(row) ?? Infinity;
    }
    if (this.order.value === "entropy") return (row) => -(pool.entropy[row] ?? -Infinity);
    const { here } = this;
    if (this.order.value === "near" && here >= 0)
      return (row) => Math.hypot(pool.x[row] - pool.x[here], pool.y[row] - pool.y[here]);
    return () => 0;
  }

  private option(pool: Pool, colours: Colouring, row: number, at: number): HTMLElement {
    const rank = this.plan.indexOf(row);
    const unsure = pool.uncertain(row);
    const facts = [rank >= 0 && `${rank + 1} in the plan`, unsure && `uncertainty ${unsure}`].filter(Boolean);
    const option = el("div", {
      role: "option",
      id: `row-${row}`,
      "data-at": at,
      "data-image": pool.ids[row],
      "aria-selected": String(this.marked.has(row)),
    });
    option.append(
      dot(colours.colors[colours.groups[row]]),
      el("span", { class: "name" }, pool.ids[row], el("small", {}, [pool.states[pool.state[row]], ...facts].join(" · "))),
    );
    return option;
  }

  private key(event: KeyboardEvent): void {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -MAX_ROWS, End: MAX_ROWS };
    if (event.key in steps) this.walk(this.at + steps[event.key]);
    else if (event.key === "Enter" && this.rows.length) this.events.opened(this.rows[this.at]);
    else if (event.key === " " && this.rows.length) this.events.marked(this.rows[this.at]);
    else return;
    event.preventDefault();
  }

  private walk(to: number): void {
    if (!this.rows.length) return;
    this.at = Math.max(0, Math.min(this.rows.length - 1, to));
    this.point();
    this.events.walked(this.rows[this.at]);
  }

  private point(): void {
    for (const now of this.box.querySelectorAll(".now")) now.classList.remove("now");
    const option = this.box.children[this.at] as HTMLElement | undefined;
    option?.classList.add("now");
    this.box.setAttribute("aria-activedescendant", option?.id ?? "");
    if (this.box === document.activeElement) option?.scrollIntoView({ block: "nearest" });
  }
}

function sorted(rows: number[], key: (row: number) => number): number[] {
  const keys = new Map(rows.map((row) => [row, key(row)]));
  return rows.sort((a, b) => {
    const [first, second] = [keys.get(a) as number, keys.get(b) as number];
    return first === second ? a - b : first - second;
  });
}
