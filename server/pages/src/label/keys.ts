// The keyboard: a key for each tool, and a cursor on the canvas that draws.

import type { Drawing } from "./drawing";
import type { Pixel } from "./paint";
import type { View } from "./view";

const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
const FAR = 10; // pixels that the cursor moves with Shift
const HABIT = 600; // milliseconds after a click closed a polygon, in which Enter is meant for the polygon
const PAN_STEP = 40; // CSS pixels

export interface Actions {
  /** press the button that has this key; return whether there is one */
  button: (key: string) => boolean;
  structure: (number: number) => void;
  find: () => void;
  submit: () => void;
  sliced: (by: number) => void;
  moved: (cursor: Pixel | null) => void;
}

export class Keys {
  cursor: Pixel | null = null;

  constructor(private readonly view: View, private readonly drawing: Drawing, private readonly actions: Actions) {
    document.addEventListener("keydown", (event) => {
      if (this.anywhere(event) || (event.target === view.canvas && this.onCanvas(event))) event.preventDefault();
    });
    view.canvas.addEventListener("keyup", (event) => {
      if (event.key === " ") drawing.end();
    });
    view.canvas.addEventListener("blur", () => drawing.end());
    view.canvas.addEventListener("pointerdown", () => this.place(null));
  }

  place(cursor: Pixel | null): void {
    this.cursor = cursor;
    this.actions.moved(cursor);
  }

  private anywhere(event: KeyboardEvent): boolean {
    const { target, key } = event;
    if (target instanceof HTMLElement && target.closest("input:not([type=checkbox], [type=range]), select, textarea, dialog")) return false;
    if (event.altKey) return false;
    if (event.ctrlKey || event.metaKey) {
      if (key.toLowerCase() === "z") return this.actions.button(event.shiftKey ? "Y" : "Z");
      return key.toLowerCase() === "y" && this.actions.button("Y");
    }
    if (/^[1-9]$/.test(key)) this.actions.structure(Number(key));
    else if (key === "[" || key === "]") this.drawing.notch(key === "]" ? 1 : -1);
    else if (key === "+" || key === "=") this.view.zoom(1.25);
    else if (key === "-") this.view.zoom(1 / 1.25);
    else if (key === "0") this.view.fit();
    else if (key === "PageUp" || key === "PageDown") this.actions.sliced(key === "PageUp" ? 1 : -1);
    else if (key === "/") this.actions.find();
    else if (key === "Escape") this.drawing.dropCorners(Infinity);
    else return /^[a-z]$/i.test(key) && this.actions.button(key.toUpperCase());
    return true;
  }

  private onCanvas(event: KeyboardEvent): boolean {
    const { drawing } = this;
    if (event.key in ARROWS) this.arrow(ARROWS[event.key], event.shiftKey);
    else if (event.key === "Backspace") drawing.dropCorners(1);
    else if (event.key === "Enter") {
      if (drawing.corners.length) drawing.closePolygon();
      else if (!event.repeat && performance.now() - drawing.clicked > HABIT) this.actions.submit();
    } else if (event.key === " ") {
      if (!this.cursor) this.place(this.middle());
      else if (!event.repeat && !drawing.drawing) drawing.begin(this.cursor);
    } else return false;
    return true;
  }

  private arrow([right, down]: [number, number], far: boolean): void {
    const { view, drawing } = this;
    if (drawing.tool === "pan") return view.move(-right * PAN_STEP, -down * PAN_STEP);
    if (drawing.tool === "zoom") return view.zoom(1.1 ** (right - down));
    if (drawing.tool === "window") return this.window(right, down);
    const { rows, columns } = drawing.mask.shape;
    const from = this.cursor ?? this.middle();
    const step = far ? FAR : 1;
    const clip = (at: number, size: number): number => Math.max(0, Math.min(size - 1, at));
    this.place(this.cursor ? { column: clip(from.column + right * step, columns), row: clip(from.row + down * step, rows) } : from);
    if (drawing.drawing) drawing.extend(this.cursor as Pixel);
    this.follow();
  }

  private window(right: number, down: number): void {
    const [low, high] = this.view.look.window;
    const [grow, shift] = [(right * (high - low)) / 20, (down * (high - low)) / 20];
    this.view.look.window = [low - grow + shift, high + grow + shift];
    this.view.redraw();
  }

  /** Move the image so that the cursor stays visible. */
  private follow(): void {
    const { view } = this;
    const { column, row } = this.cursor as Pixel;
    const { x, y } = view.toCanvas({ x: column + 0.5, y: row + 0.5 });
    const beyond = (at: number, size: number): number => (at < 0 ? -at + PAN_STEP : at > size ? size - at - PAN_STEP : 0);
    const [right, down] = [beyond(x, view.canvas.clientWidth), beyond(y, view.canvas.clientHeight)];
    if (right || down) view.move(right, down);
  }

  private middle(): Pixel {
    const { rows, columns } = this.drawing.mask.shape;
    const at = this.view.pixelAt({ x: this.view.canvas.clientWidth / 2, y: this.view.canvas.clientHeight / 2 });
    return { column: Math.max(0, Math.min(columns - 1, at.column)), row: Math.max(0, Math.min(rows - 1, at.row)) };
  }
}
