// The drawing of one case: the tool in hand, the structure drawn, and the steps taken.

import { Edit, exchange, extent } from "./mask";
import type { Mask, Rect } from "./mask";
import { flood, polygon, stroke } from "./paint";
import type { Ink, Pixel } from "./paint";
import { keepLargest, smooth } from "./regions";
import { Undo } from "./undo";
import type { About, Slice } from "./voxels";

export type Tool = "brush" | "eraser" | "polygon" | "fill" | "threshold brush" | "pan" | "zoom" | "window";
export type Once = "smooth" | "keep largest";

const MAX_SIZE = 999; // pixels
const DRAWS: ReadonlySet<Tool> = new Set(["brush", "eraser", "polygon", "fill", "threshold brush"]);

export interface Events {
  /** a part of the label differs */
  painted: (rect: Rect) => void;
  /** a step was taken, undone or redone; where the label differs */
  stepped: (rect: Rect) => void;
  /** tool, size, structure or corners of the polygon differ */
  chosen: () => void;
  said: (text: string) => void;
}

export class Drawing {
  tool: Tool = "brush";
  size = 15; // pixel widths
  value = 1;
  range: [number, number] = [0, 0];
  corners: Pixel[] = [];
  slice = 0;
  voxels: Slice | null = null;
  locked = true; // nothing can be drawn: no image is open, or it is being sent
  readonly hidden = new Set<number>(); // structures that are not shown, which nothing changes
  uses: Record<string, number> = {};
  clicked = -Infinity; // when a click closed a polygon, by performance.now()
  changes = 0; // steps since the case was opened, those undone and redone included
  private undo_ = new Undo();
  private edit: Edit | null = null;
  private last: Pixel | null = null;

  constructor(public mask: Mask, private about: About, private readonly events: Events) {}

  open(mask: Mask, about: About): void {
    [this.mask, this.about] = [mask, about];
    this.undo_ = new Undo();
    [this.uses, this.changes, this.corners, this.edit] = [{}, 0, [], null];
    this.range = [Math.round((about.window[0] + about.window[1]) / 2), Math.round(about.window[1])];
    this.events.chosen();
  }

  /** Lay another label over the drawing, as one step. */
  replace(other: Mask): void {
    const { shape } = this.mask;
    this.step("pre-label", (edit) => {
      for (let slice = 0; slice < shape.slices; slice++)
        for (let row = 0; row < shape.rows; row++) {
          const start = this.mask.at(slice, row);
          if (!rowsDiffer(this.mask, other, start)) continue;
          edit.span(slice, row, 0, shape.columns, 0);
          this.mask.data.set(other.data.subarray(start, start + shape.columns), start);
        }
    });
  }

  get draws(): boolean {
    return DRAWS.has(this.tool);
  }

  get canUndo(): boolean {
    return this.undo_.canUndo || this.corners.length > 0;
  }

  get canRedo(): boolean {
    return this.undo_.canRedo;
  }

  choose(tool: Tool): void {
    this.end();
    this.corners = [];
    this.tool = tool;
    this.events.chosen();
  }

  resize(size: number): void {
    this.size = Math.max(1, Math.min(MAX_SIZE, Math.round(size)));
    this.events.chosen();
  }

  /** Make the brush larger or smaller by a notch; sizes stay odd, so that a brush has a middle pixel. */
  notch(by: 1 | -1): void {
    const next = Math.round(this.size * (by > 0 ? 1.2 : 1 / 1.2));
    const odd = by > 0 ? Math.max(this.size + 2, next | 1) : Math.min(this.size - 2, next - ((next + 1) % 2));
    this.resize(odd);
  }

  // strokes ------------------------------------------------------------------------------------------

  /** Begin with the tool in hand at a pixel; `erase` uses the eraser instead, as the other end of a pen does. */
  begin(at: Pixel, erase = false): void {
    if (this.locked || !this.draws) return;
    if (this.tool === "polygon" && !erase) return this.corner(at);
    if (this.tool === "fill" && !erase) {
      if (this.inside(at)) this.step("fill", (edit) => flood(edit, at, this.ink(this.value)));
      return;
    }
    this.edit = this.start(erase ? "eraser" : this.tool);
    this.last = at;
    this.extend(at);
  }

  extend(to: Pixel): void {
    if (!this.edit || !this.last) return;
    stroke(this.edit, this.last, to, this.size, this.ink(this.edit.tool === "eraser" ? 0 : this.value, this.edit.tool));
    this.last = to;
    const dirty = this.edit.takeDirty();
    if (dirty) this.events.painted(dirty);
  }

  end(): void {
    const { edit } = this;
    [this.edit, this.last] = [null, null];
    if (edit) this.close(edit);
  }

  /** Take back a stroke that has begun. */
  cancel(): void {
    const step = this.edit?.close();
    [this.edit, this.last] = [null, null];
    if (step) this.events.stepped(exchange(this.mask, step));
  }

  get drawing(): boolean {
    return this.edit !== null;
  }

  // polygons -----------------------------------------------------------------------------------------

  /** Add a corner; the first corner again closes the polygon. */
  corner(at: Pixel): void {
    const [first] = this.corners;
    if (this.corners.length > 2 && at.column === first.column && at.row === first.row) return this.closePolygon();
    this.corners = [...this.corners, at];
    this.events.chosen();
  }

  closePolygon(byClick = false): void {
    const { corners } = this;
    if (!corners.length) return;
    this.corners = [];
    if (byClick) this.clicked = performance.now();
    if (corners.length > 2) this.step("polygon", (edit) => polygon(edit, corners, this.ink(this.value)));
    this.events.chosen();
  }

  dropCorners(count: number): void {
    this.corners = this.corners.slice(0, Math.max(0, this.corners.length - count));
    this.events.chosen();
  }

  // whole structures ---------------------------------------------------------------------------------

  apply(tool: Once): void {
    if (this.locked) return;
    const before = this.changes;
    this.step(tool, (edit) => {
      if (tool === "smooth") smooth(edit, this.slice, this.value);
      else keepLargest(edit, this.value);
    });
    if (this.changes === before) this.events.said(tool === "smooth" ? "There is nothing to smooth." : "It has one part already.");
  }

  /** Remove everything, as one step. */
  clear(): void {
    const { slices, rows, columns } = this.mask.shape;
    this.step("clear", (edit) => {
      for (let slice = 0; slice < slices; slice++) for (let row = 0; row < rows; row++) edit.span(slice, row, 0, columns, 0);
    });
  }

  undo(): void {
    if (this.corners.length) return this.dropCorners(1);
    this.move("undo", () => this.undo_.undo(this.mask));
  }

  redo(): void {
    this.move("redo", () => this.undo_.redo(this.mask));
  }

  private move(name: string, act: () => Rect | null): void {
    if (this.locked) return;
    this.end();
    const rect = act();
    if (!rect) return;
    this.note(name);
    this.events.stepped(rect);
  }

  private step(tool: string, act: (edit: Edit) => void): void {
    this.end();
    const edit = this.start(tool);
    act(edit);
    this.close(edit);
  }

  private start(tool: string): Edit {
    if (!this.hidden.size) return new Edit(this.mask, tool);
    const open = new Uint8Array(1 << 16).fill(1);
    for (const value of this.hidden) open[value] = 0;
    return new Edit(this.mask, tool, open);
  }

  private close(edit: Edit): void {
    const step = edit.close();
    if (!step) return;
    this.undo_.add(step);
    this.note(edit.tool);
    this.events.stepped(extent(this.mask.shape, step, this.slice));
  }

  private note(tool: string): void {
    this.uses[tool] = (this.uses[tool] ?? 0) + 1;
    this.changes++;
  }

  private ink(value: number, tool: string = this.tool): Ink {
    const { slice, about, voxels } = this;
    if (tool !== "threshold brush") return { slice, value, aspect: about.aspect };
    const [base, [low, high]] = [this.mask.at(slice, 0), this.range];
    const test = (at: number): boolean => {
      const shown = voxels?.data[at - base] ?? NaN;
      return shown >= low && shown <= high;
    };
    return { slice, value, aspect: about.aspect, test };
  }

  private inside({ row, column }: Pixel): boolean {
    const { rows, columns } = this.mask.shape;
    return row >= 0 && column >= 0 && row < rows && column < columns;
  }
}

function rowsDiffer(one: Mask, other: Mask, start: number): boolean {
  const end = start + one.shape.columns;
  for (let at = start; at < end; at++) if (one.data[at] !== other.data[at]) return true;
  return false;
}
