// The selection map: the parts of the page, and the events between them.

import { ask, get, post } from "./api";
import { colouring, entryOf } from "./colouring";
import { byId, el, number } from "./dom";
import { Hover } from "./hover";
import { ImagePanel } from "./image";
import { drawLegend } from "./legend";
import { ListPanel } from "./list";
import { PlanPanel } from "./plan";
import { emptyText } from "./empty";
import { Guide } from "./guide";
import { ranked } from "./pool";
import type { Colouring, Pool, PoolMap } from "./pool";
import { Scatter } from "./scatter";
import type { MapStatus } from "./status";
import { Tabs } from "./tabs";
import { explainTerms } from "./terms";
import { done, Undo } from "./undo";
import type { Marking } from "./undo";

const FINISHED = /^(labelled|held out)/; // states of images that have a label, or may have one
const POLL_INTERVAL = 5_000; // milliseconds; an unchanged map costs only an empty answer

class MapPage {
  private pool: Pool | null = null;
  private status: MapStatus | null = null;
  private rowOf = new Map<string, number>();
  private colours: Colouring | null = null;
  private by = "state";
  private readonly hidden = new Map<string, Set<number>>();
  private readonly marked = new Set<number>();
  private here = -1;
  private tag = "";
  private timer = 0;

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
  private readonly guide = new Guide("", () => this.poll());
  private readonly undo = new Undo(byId<HTMLButtonElement>("undo"), (text, wrong) => this.say(text, wrong), () => this.refresh());
  private readonly image = new ImagePanel((image) => this.openImage(image), (image) => this.send("reopen", [image]));

  start(): void {
    byId<HTMLSelectElement>("colour-by").addEventListener("change", (event) => {
      this.by = (event.target as HTMLSelectElement).value;
      void this.redraw();
    });
    byId("zoom-in").addEventListener("click", () => this.scatter.zoom(0.6, this.here));
    byId("zoom-out").addEventListener("click", () => this.scatter.zoom(1 / 0.6, this.here));
    byId("fit").addEventListener("click", () => this.scatter.fit());
    byId("lasso").addEventListener("click", (event) => {
      const button = event.currentTarget as HTMLElement;
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      void this.scatter.setLasso(on);
    });
    for (const [id, kind] of [["next", "next"], ["skip", "skip"], ["held", "held_out"], ["none", "none"]])
      byId(`mark-${id}`).addEventListener("click", () => void this.send(kind, this.names(this.marked)));
    byId("mark-reopen").addEventListener("click", () => void this.send("reopen", this.names(this.finished())));
    byId("unmark").addEventListener("click", () => this.choose([]));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointerleave", () => this.hover.show(null));
    explainTerms();
    this.choose([]);
    void this.poll();
  }

  /** Fetch changes, again and again. */
  private async poll(): Promise<void> {
    clearTimeout(this.timer);
    try {
      await this.refresh();
    } catch (error) {
      byId("status").textContent = (error as Error).message;
    }
    clearTimeout(this.timer); // another poll may have begun meanwhile
    this.timer = window.setTimeout(() => void this.poll(), POLL_INTERVAL);
  }

  private async refresh(): Promise<void> {
    const status = (this.status = await get<MapStatus>("status"));
    byId("status").textContent = statusLine(status);
    this.guide.show(status);
    this.showEmpty();
    byId("warnings").replaceChildren(...status.warnings.map((text) => el("li", { class: "wrong" }, text)));
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
    this.pool = ranked(pool);
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
    this.showEmpty();
    if (this.pool.ids.length) await this.scatter.show(this.pool, colours, this.shownRows());
  }

  /** Say why there is no map, if there is none. */
  private showEmpty(): void {
    const isEmpty = !!this.pool && !this.pool.ids.length;
    byId("empty").hidden = !isEmpty;
    if (isEmpty && this.status) byId("empty").replaceChildren(...emptyText(this.status));
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
    const [unsure, quality] = [pool.uncertain(row), pool.quality[row]];
    if (pool.cluster[row] >= 0) facts.push(["cluster", String(pool.cluster[row] + 1)]);
    if (unsure) facts.push(["uncertainty", unsure]);
    if (quality !== null) facts.push(["Dice", `${number(quality, 2)} of 1`]);
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
    const measured = predicts?.dice == null ? "" : `, Dice ${number(predicts.dice, 2)} of 1 where measured`;
    const name = predicts ? of + measured : "";
    const facts = this.facts(row);
    const { rank, pick } = this.plan.why(ids[row]);
    if (rank) facts.push(["next", `number ${rank} of the next ${this.plan.images.length}`]);
    void this.image.open({ image: ids[row], facts, pick, labels, hasModel: !!predicts, model: name });
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
    else if (event.key === "+" || event.key === "=") void this.scatter.zoom(0.6, this.here);
    else if (event.key === "-") void this.scatter.zoom(1 / 0.6, this.here);
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
    byId<HTMLButtonElement>("mark-reopen").disabled = !this.finished().length;
    void this.scatter.choose([...this.marked]);
    this.list.setMarked(this.marked);
  }

  /** Return the chosen images that may have a label: only those can be opened again. */
  private finished(): number[] {
    const pool = this.pool;
    return pool ? [...this.marked].filter((row) => FINISHED.test(pool.states[pool.state[row]])) : [];
  }

  /** Mark images on the server; say how many changed, and return that. */
  private async send(kind: string, images: string[]): Promise<string> {
    const body = { kind, images, reason: byId<HTMLInputElement>("reason").value.trim(), tell_before: true };
    try {
      const { changed, before } = await post<{ changed: number; before: Marking[] }>("marks", body);
      this.choose([]);
      this.undo.add({ kind, images: body.images, changed, before });
      await this.refresh();
      return this.say(done(kind, changed));
    } catch (error) {
      return this.say((error as Error).message, true);
    }
  }

  private say(text: string, wrong = false): string {
    byId("marked").textContent = text;
    byId("marked").classList.toggle("wrong", wrong);
    return text;
  }
}

function statusLine(status: MapStatus): string {
  const parts = [
    status.stage.replaceAll("_", " "),
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
