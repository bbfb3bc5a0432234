// The selection map: the parts of the page, and the events between them.

import { ask, get, post } from "./api";
import { colouring, entryOf } from "./colouring";
import { byId, el, number } from "./dom";
import { Hover } from "./hover";
import { ImagePanel } from "./image";
import { drawLegend } from "./legend";
import { ListPanel } from "./list";
import { PlanPanel } from "./plan";
import type { Colouring, PoolMap } from "./pool";
import { Scatter } from "./scatter";
import { Tabs } from "./tabs";

const POLL_INTERVAL = 5_000; // milliseconds; an unchanged map costs only an empty answer

class MapPage {
  private pool: PoolMap | null = null;
  private rowOf = new Map<string, number>();
  private colours: Colouring | null = null;
  private by = "state";
  private readonly hidden = new Map<string, Set<number>>();
  private readonly marked = new Set<number>();
  private here = -1;
  private tag = "";

  private readonly canvas = byId<HTMLCanvasElement>("canvas");
  private readonly hover = new Hover();
  private readonly tabs = new Tabs(["plan", "list", "image"], () => this.list.draw());
  private readonly scatter = new Scatter(this.canvas, document.querySelector("#marks") as SVGSVGElement, {
    hovered: (row) => this.hovered(row),
    clicked: (row, shift) => (shift ? this.toggle(row) : this.open(row)),
    lassoed: (rows, add) => this.choose([...(add ? this.marked : []), ...rows]),
    cleared: () => this.choose([]),
  });
  private readonly plan = new PlanPanel({
    picked: (images) => {
      const rows = this.rows(images);
      this.scatter.mark({ plan: rows });
      this.list.setPlan(rows);
    },
    previewed: (images) => this.scatter.mark({ preview: this.rows(images) }),
    opened: (image) => this.openImage(image),
  });
  private readonly list = new ListPanel({
    walked: (row) => this.goTo(row),
    opened: (row) => this.open(row),
    marked: (row) => this.toggle(row),
  });
  private readonly image = new ImagePanel((image) => this.openImage(image));

  start(): void {
    byId<HTMLSelectElement>("colour-by").addEventListener("change", (event) => {
      this.by = (event.target as HTMLSelectElement).value;
      void this.redraw();
    });
    byId("zoom-in").addEventListener("click", () => this.scatter.zoom(0.6));
    byId("zoom-out").addEventListener("click", () => this.scatter.zoom(1 / 0.6));
    byId("fit").addEventListener("click", () => this.scatter.fit());
    byId("lasso").addEventListener("click", (event) => {
      const button = event.currentTarget as HTMLElement;
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      void this.scatter.setLasso(on);
    });
    for (const [id, kind] of [["next", "next"], ["skip", "skip"], ["held", "held_out"], ["none", "none"]])
      byId(`mark-${id}`).addEventListener("click", () => void this.send(kind));
    byId("unmark").addEventListener("click", () => this.choose([]));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointerleave", () => this.hover.show(null));
    this.choose([]);
    void this.poll();
  }

  /** Fetch changes, again and again. */
  private async poll(): Promise<void> {
    try {
      await this.refresh();
    } catch (error) {
      byId("status").textContent = (error as Error).message;
    }
    setTimeout(() => void this.poll(), POLL_INTERVAL);
  }

  private async refresh(): Promise<void> {
    const status = await get<Record<string, any>>("status");
    byId("status").textContent = statusLine(status);
    byId("warnings").replaceChildren(...status.warnings.map((text: string) => el("li", { class: "wrong" }, text)));
    const answer = await ask("map/data", { headers: this.tag ? { "If-None-Match": this.tag } : {}, cache: "no-store" });
    if (answer.status === 304) return;
    const pool = (await answer.json()) as PoolMap;
    this.take(pool);
    this.leftOut(pool);
    await this.redraw();
    this.choose([...this.marked]);
    this.scatter.mark({ here: this.here });
    await this.plan.refresh();
    this.tag = answer.headers.get("ETag") ?? ""; // only now, so that a failed update is retried
    if (this.here >= 0 && !byId("panel-image").hidden) this.show(this.here);
    document.body.dataset.version = pool.version; // the page shows this version
  }

  /** Take over a new pool, whose rows may differ: marks and the open image follow their images at once. */
  private take(pool: PoolMap): void {
    const [marked, here] = [this.names(this.marked), this.here >= 0 ? this.pool?.ids[this.here] : null];
    this.pool = pool;
    this.rowOf = new Map(pool.ids.map((id, row) => [id, row]));
    this.here = here ? this.rowOf.get(here) ?? -1 : -1;
    this.marked.clear();
    for (const row of this.rows(marked)) this.marked.add(row);
  }

  private async redraw(): Promise<void> {
    if (!this.pool) return;
    const colours = colouring(this.pool, this.by);
    this.colours = colours;
    const hidden = this.hidden.get(this.by) ?? new Set<number>();
    this.hidden.set(this.by, hidden);
    drawLegend(byId("legend"), colours, this.by, hidden, () => {
      void this.scatter.filter(this.shownRows());
      this.list.show(this.pool!, this.colours!, this.isShown);
    });
    this.list.show(this.pool, colours, this.isShown);
    byId("empty").hidden = this.pool.ids.length > 0;
    byId("empty").textContent = "There is no map yet: the images are being embedded. This page updates by itself.";
    if (this.pool.ids.length) await this.scatter.show(this.pool, colours, this.shownRows());
  }

  private readonly isShown = (row: number): boolean => {
    const hidden = this.hidden.get(this.by);
    return !hidden?.size || !hidden.has(entryOf(this.colours!, this.colours!.groups[row]));
  };

  /** Return the rows that pass the filter, null when all do. */
  private shownRows(): number[] | null {
    if (!this.hidden.get(this.by)?.size || !this.pool) return null;
    return this.pool.ids.map((_, row) => row).filter(this.isShown);
  }

  private leftOut(pool: PoolMap): void {
    const failed = Object.entries(pool.failed);
    const parts: Node[] = [];
    if (failed.length) {
      const items = failed.slice(0, 50).map(([image, reason]) => el("li", {}, el("strong", {}, image), ` ${reason}`));
      const more = failed.length > 50 ? [el("li", {}, `and ${failed.length - 50} more: GET /selection/status`)] : [];
      parts.push(el("details", {}, el("summary", {}, `${failed.length} cannot be read`), el("ul", {}, ...items, ...more)));
    }
    if (pool.copies > 0) parts.push(el("p", { class: "quiet" }, `${pool.copies} copies of other images are left out.`));
    if (pool.unmapped > 0) parts.push(el("p", { class: "quiet" }, `${pool.unmapped} are not on the map yet.`));
    byId("left-out").replaceChildren(...parts);
  }

  // one image ---------------------------------------------------------------------------------------

  private hovered(row: number | null): void {
    const at = row === null ? undefined : this.scatter.screen(row);
    if (row === null || !at || !this.pool) return this.hover.show(null);
    this.hover.show(this.pool.ids[row], this.facts(row).map(([name, value]) => `${name}: ${value}`), at);
  }

  private facts(row: number): [string, string][] {
    const pool = this.pool!;
    const facts: [string, string][] = [["state", pool.states[pool.state[row]]]];
    const [entropy, quality] = [pool.entropy[row], pool.quality[row]];
    if (pool.cluster[row] >= 0) facts.push(["cluster", String(pool.cluster[row] + 1)]);
    if (entropy !== null) facts.push(["entropy", `${number(entropy)} nats`]);
    if (quality !== null) facts.push(["Dice", number(quality)]);
    return facts;
  }

  private openImage(image: string): void {
    const row = this.rowOf.get(image);
    if (row !== undefined) this.open(row);
  }

  private open(row: number): void {
    this.goTo(row);
    this.show(row);
    this.tabs.show("image");
    void this.scatter.choose([...this.marked]);
  }

  private show(row: number): void {
    const { ids, labels, model, predicts } = this.pool!;
    const of = predicts?.name === "segmentation" && model ? `Model of round ${model.round}` : "Instant model";
    const measured = predicts?.dice == null ? "" : `, Dice ${number(predicts.dice)}`;
    const name = predicts ? of + measured : "";
    const facts = this.facts(row);
    const { rank, reason } = this.plan.why(ids[row]);
    if (rank) facts.push(["plan", `number ${rank} of the next`]);
    void this.image.open({ image: ids[row], facts, reason, labels, hasModel: !!predicts, model: name });
  }

  private goTo(row: number): void {
    this.here = row;
    this.scatter.mark({ here: row });
    void this.scatter.reveal(row);
    this.list.setHere(row);
    byId("spoken").textContent = [this.pool!.ids[row], ...this.facts(row).map((fact) => fact.join(" "))].join(", ");
  }

  private key(event: KeyboardEvent): void {
    const directions: Record<string, [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, 1],
      ArrowDown: [0, -1],
    };
    if (!this.pool?.ids.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const first = this.here < 0 ? (this.rowOf.get(this.plan.images[0]) ?? 0) : -1;
    if (event.key in directions) this.goTo(first >= 0 ? first : this.scatter.towards(this.here, directions[event.key], this.isShown));
    else if (event.key === "Enter" && this.here >= 0) this.open(this.here);
    else if (event.key === " " && this.here >= 0) this.toggle(this.here);
    else if (event.key === "+" || event.key === "=") void this.scatter.zoom(0.6);
    else if (event.key === "-") void this.scatter.zoom(1 / 0.6);
    else if (event.key === "0") void this.scatter.fit();
    else return;
    event.preventDefault();
  }

  // marked images -----------------------------------------------------------------------------------

  private rows(images: Iterable<string>): number[] {
    return [...images].map((image) => this.rowOf.get(image)).filter((row) => row !== undefined);
  }

  private names(rows: Iterable<number>): string[] {
    return [...rows].map((row) => this.pool!.ids[row]);
  }

  private toggle(row: number): void {
    this.choose(this.marked.has(row) ? [...this.marked].filter((other) => other !== row) : [...this.marked, row]);
  }

  private choose(rows: number[]): void {
    this.marked.clear();
    for (const row of rows) this.marked.add(row);
    const count = this.marked.size;
    byId("marked").textContent = count
      ? `${count.toLocaleString("en")} ${count === 1 ? "image" : "images"}`
      : "None. Draw a lasso, shift-click, or press Space on an image.";
    for (const id of ["mark-next", "mark-skip", "mark-held", "mark-none", "unmark"])
      byId<HTMLButtonElement>(id).disabled = !count;
    void this.scatter.choose([...this.marked]);
    this.list.setMarked(this.marked);
  }

  /** Send the marks to the server, and show how many images changed. */
  private async send(kind: string): Promise<void> {
    const status = byId("marked");
    const body = { kind, images: this.names(this.marked), reason: byId<HTMLInputElement>("reason").value.trim() };
    try {
      const { changed } = await post<{ changed: number }>("marks", body);
      this.choose([]);
      status.textContent = `${changed} ${changed === 1 ? "image" : "images"} changed.`;
      await this.refresh();
      status.textContent = `${changed} ${changed === 1 ? "image" : "images"} changed.`;
      status.classList.remove("wrong");
    } catch (error) {
      status.textContent = (error as Error).message;
      status.classList.add("wrong");
    }
  }
}

function statusLine(status: Record<string, any>): string {
  const parts = [
    String(status.stage).replaceAll("_", " "),
    status.round ? `round ${status.round}` : "",
    `${status.labelled.toLocaleString("en")} of ${status.images.toLocaleString("en")} labelled`,
  ];
  const { progress } = status;
  if (progress?.error) parts.push(progress.error);
  else if (progress && progress.step !== "ready")
    parts.push(progress.total ? `${progress.step}, ${progress.done} of ${progress.total}` : progress.step);
  return parts.filter(Boolean).join(" · ");
}

new MapPage().start();
