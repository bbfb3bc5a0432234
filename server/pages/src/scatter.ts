// The points on the map (regl-scatterplot, WebGL), and marks over them (SVG).

import createScatterplot from "regl-scatterplot";
import { directRenderer, Movement } from "./renderer";
import type { Colouring, PoolMap } from "./pool";

const SVG = "http://www.w3.org/2000/svg";
const MANY = 20_000; // points above which speed matters more than round edges

export interface Marks {
  plan: number[];
  preview: number[];
  here: number;
}

interface Events {
  hovered: (row: number | null) => void;
  clicked: (row: number, shift: boolean) => void;
  lassoed: (rows: number[], add: boolean) => void;
  cleared: () => void;
}

export class Scatter {
  private plot: ReturnType<typeof createScatterplot> | null = null;
  private marks: Marks = { plan: [], preview: [], here: -1 };
  private x: Float32Array = new Float32Array();
  private y: Float32Array = new Float32Array();
  private index: ArrayBuffer | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private lassoing = false;
  private readonly movement = new Movement(() => {
    this.plot?.redraw();
    this.drawMarks();
  });
  private shift = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly svg: SVGSVGElement,
    private readonly events: Events,
  ) {
    canvas.addEventListener("pointerdown", (event) => (this.shift = event.shiftKey), true);
  }

  /** Show the pool; the view stays as it is, except the first time. */
  show(pool: PoolMap, colours: Colouring, shown: number[] | null): Promise<void> {
    const first = !this.plot;
    const many = pool.ids.length > MANY;
    this.plot ??= this.create(many);
    const moved = this.place(pool);
    if (moved) this.index = undefined;
    return this.then(async (plot) => {
      await plot.set({
        pointColor: colours.colors,
        pointColorActive: "#111111",
        pointColorHover: "#111111",
        pointSize: pointSize(pool.ids.length),
        opacity: many ? 1 : 0.9,
      });
      const points = { x: this.x, y: this.y, valueA: Float32Array.from(colours.groups) };
      await plot.draw(points, { zDataType: "categorical", spatialIndex: this.index });
      if (!this.index) await plot.set({ pointOrder: shuffled(pool.ids.length) });
      this.index = plot.get("spatialIndex");
      if (shown) await plot.filter(shown);
      if (first) await this.fit(false);
      this.drawMarks();
    });
  }

  filter(shown: number[] | null): Promise<void> {
    return this.then(async (plot) => void (await (shown ? plot.filter(shown) : plot.unfilter())));
  }

  /** Draw these points as selected. */
  choose(rows: number[]): Promise<void> {
    return this.then(async (plot) => {
      if (rows.length) plot.select(rows, { preventEvent: true });
      else plot.deselect({ preventEvent: true });
    });
  }

  mark(marks: Partial<Marks>): void {
    this.marks = { ...this.marks, ...marks };
    this.drawMarks();
  }

  setLasso(on: boolean): Promise<void> {
    return this.then(async (plot) => void (await plot.set({ mouseMode: on ? "lasso" : "panZoom" })));
  }

  /** Zoom; the image of `row`, if there is one, stays where it is on the screen, or comes to its middle. */
  zoom(factor: number, row = -1): Promise<void> {
    return this.then(async (plot) => {
      const [middle, distance] = [plot.get("cameraTarget"), plot.get("cameraDistance")];
      const at = row >= 0 ? plot.getScreenPosition(row) : undefined;
      const [x, y] = [this.x[row], this.y[row]];
      const towards = at && this.isVisible(at) ? factor : 0;
      const target: [number, number] = at ? [x + (middle[0] - x) * towards, y + (middle[1] - y) * towards] : [middle[0], middle[1]];
      await plot.zoomToLocation(target, distance * factor, { transition: true, transitionDuration: 150 });
    });
  }

  fit(transition = true): Promise<void> {
    const rows = this.x.length ? extremes(this.x, this.y) : [];
    const options = { padding: 0.08, transition, transitionDuration: 250 };
    const zoom = async (plot: NonNullable<typeof this.plot>) => void (rows.length && (await plot.zoomToPoints(rows, options)));
    return transition ? this.then(zoom) : zoom(this.plot!);
  }

  /** Bring an image into view, if it is not. */
  reveal(row: number): Promise<void> {
    return this.then(async (plot) => {
      const at = plot.getScreenPosition(row);
      if (at && this.isVisible(at)) return;
      const place: [number, number] = [this.x[row], this.y[row]];
      await plot.zoomToLocation(place, plot.get("cameraDistance"), { transition: true, transitionDuration: 250 });
    });
  }

  private isVisible([x, y]: [number, number]): boolean {
    return x > 20 && y > 20 && x < this.canvas.clientWidth - 20 && y < this.canvas.clientHeight - 20;
  }

  screen(row: number): [number, number] | undefined {
    return this.plot?.getScreenPosition(row);
  }

  /** Return the nearest visible image in a direction, or the row itself when there is none. */
  towards(row: number, direction: [number, number], isShown: (row: number) => boolean): number {
    let [best, at] = [Infinity, row];
    for (let other = 0; other < this.x.length; other++) {
      const [dx, dy] = [this.x[other] - this.x[row], this.y[other] - this.y[row]];
      const along = dx * direction[0] + dy * direction[1];
      const across = Math.abs(dx * direction[1] - dy * direction[0]);
      const cost = along + 2 * across;
      if (along > 1e-9 && across <= along && cost < best && isShown(other)) [best, at] = [cost, other];
    }
    return at;
  }

  private then(work: (plot: NonNullable<typeof this.plot>) => Promise<void>): Promise<void> {
    const next = this.queue.then(() => (this.plot ? work(this.plot) : undefined));
    this.queue = next.catch((error) => console.warn(error));
    return next as Promise<void>;
  }

  private create(many: boolean): NonNullable<typeof this.plot> {
    const plot = createScatterplot({
      canvas: this.canvas,
      renderer: directRenderer(this.canvas, this.movement),
      width: "auto",
      height: "auto",
      backgroundColor: "#ffffff",
      colorBy: "valueA",
      performanceMode: many,
      lassoInitiator: false,
      lassoColor: "#111111",
      pointOutlineWidth: 2,
      pointSizeSelected: many ? 1 : 2,
      opacityInactiveMax: 1,
      deselectOnDblClick: false,
      ...{ actionKeyMap: { lasso: "shift" } }, // not in its types yet
    });
    plot.subscribe("pointOver", (row) => this.events.hovered(row));
    plot.subscribe("pointOut", () => this.events.hovered(null));
    plot.subscribe("lassoStart", () => (this.lassoing = true));
    plot.subscribe("lassoEnd", () => setTimeout(() => (this.lassoing = false)));
    plot.subscribe("select", ({ points }) => {
      if (this.lassoing) this.events.lassoed([...points], this.shift);
      else if (points.length) this.events.clicked(points[points.length - 1], this.shift);
    });
    plot.subscribe("deselect", () => this.events.cleared());
    plot.subscribe("view", () => {
      this.movement.moved();
      this.drawMarks();
    });
    return plot;
  }

  /** Scale positions to [-1, 1], alike on both axes; return whether they changed. */
  private place(pool: PoolMap): boolean {
    const [left, right] = ends(pool.x);
    const [bottom, top] = ends(pool.y);
    const scale = 2 / Math.max(right - left, top - bottom, 1e-9);
    const x = Float32Array.from(pool.x, (value) => (value - (left + right) / 2) * scale);
    const y = Float32Array.from(pool.y, (value) => (value - (bottom + top) / 2) * scale);
    const same = x.length === this.x.length && x.every((value, row) => value === this.x[row] && y[row] === this.y[row]);
    [this.x, this.y] = [x, y];
    return !same;
  }

  private drawMarks(): void {
    this.svg.style.visibility = this.movement.isBehind ? "hidden" : "visible";
    if (this.movement.isBehind) return; // drawn again at rest
    const shapes: SVGElement[] = [];
    const ring = (row: number, shape: string, radius: number, text: string): void => {
      const at = this.screen(row);
      if (!at) return;
      for (const name of ["halo", shape]) shapes.push(outline(name, shape, at, radius));
      if (text) shapes.push(caption(text, shape, at, radius));
    };
    this.marks.plan.forEach((row, rank) => ring(row, "plan", 8, String(rank + 1)));
    this.marks.preview.forEach((row, rank) => ring(row, "preview", 11, String(rank + 1)));
    if (this.marks.here >= 0) ring(this.marks.here, "here", 14, "");
    this.svg.replaceChildren(...shapes);
  }
}

function outline(name: string, shape: string, [x, y]: [number, number], radius: number): SVGElement {
  const element = document.createElementNS(SVG, shape === "preview" ? "rect" : "circle");
  const values: Record<string, number> =
    shape === "preview"
      ? { x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius }
      : { cx: x, cy: y, r: radius };
  for (const [key, value] of Object.entries(values)) element.setAttribute(key, value.toFixed(1));
  element.setAttribute("class", name);
  return element;
}

function caption(text: string, shape: string, [x, y]: [number, number], radius: number): SVGElement {
  const element = document.createElementNS(SVG, "text");
  const below = shape === "preview";
  element.setAttribute("x", (x + radius * 0.8).toFixed(1));
  element.setAttribute("y", (y + (below ? radius + 10 : -radius * 0.8)).toFixed(1));
  if (below) element.setAttribute("class", "preview-text");
  element.textContent = text;
  return element;
}

/** Return 0 to count - 1 in a fixed random order, so that no group of images covers the others. */
function shuffled(count: number): number[] {
  const rows = Array.from({ length: count }, (_, row) => row);
  let seed = 1;
  for (let at = count - 1; at > 0; at--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; // a linear congruential generator
    const other = Math.floor((seed / 2 ** 32) * (at + 1));
    [rows[at], rows[other]] = [rows[other], rows[at]];
  }
  return rows;
}

function pointSize(count: number): number {
  return count > MANY ? 2 : Math.max(4, Math.min(11, 60 / Math.cbrt(count)));
}

function ends(values: number[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return values.length ? [low, high] : [0, 0];
}

/** Return the outermost points on all four sides. */
function extremes(x: Float32Array, y: Float32Array): number[] {
  const best = [0, 0, 0, 0];
  for (let row = 0; row < x.length; row++) {
    if (x[row] < x[best[0]]) best[0] = row;
    if (x[row] > x[best[1]]) best[1] = row;
    if (y[row] < y[best[2]]) best[2] = row;
    if (y[row] > y[best[3]]) best[3] = row;
  }
  return best;
}
