// Marks over the image: the brush's ring, the keyboard's cursor, the corners of a polygon, the value under them.

import { byId } from "../dom";
import type { Drawing } from "./drawing";
import type { Pixel } from "./paint";
import type { View } from "./view";

const BRUSHES = new Set(["brush", "eraser", "threshold brush"]);
const SVG = "http://www.w3.org/2000/svg";

type Named = (value: number) => string;

export class Marks {
  private readonly ring = byId("ring");
  private readonly layer = document.querySelector("#marks") as SVGSVGElement;
  private at: { x: number; y: number } | null = null; // the pointer, in CSS pixels
  private cursor: Pixel | null = null; // the keyboard's

  constructor(private readonly view: View, private readonly drawing: Drawing) {}

  hover(at: { x: number; y: number } | null, name: Named): void {
    this.at = at;
    this.draw();
    byId("under").textContent = at ? this.describe(this.view.pixelAt(at), name) : "";
  }

  point(cursor: Pixel | null, name: Named): void {
    this.cursor = cursor;
    this.draw();
    if (!cursor) return;
    byId("under").textContent = byId("spoken").textContent = this.describe(cursor, name);
  }

  draw(): void {
    const at = this.cursor ? this.view.toCanvas({ x: this.cursor.column + 0.5, y: this.cursor.row + 0.5 }) : this.at;
    const hasRing = at !== null && BRUSHES.has(this.drawing.tool) && !this.drawing.locked;
    this.ring.hidden = !hasRing;
    if (hasRing) {
      const size = Math.max(3, this.drawing.size * this.view.magnification);
      this.ring.style.width = this.ring.style.height = `${size}px`;
      this.ring.style.transform = `translate(${at.x - size / 2}px, ${at.y - size / 2}px)`;
    }
    this.layer.replaceChildren(...this.polygon(), ...this.cross());
  }

  private polygon(): SVGElement[] {
    const points = this.drawing.corners.map(({ column, row }) => this.view.toCanvas({ x: column + 0.5, y: row + 0.5 }));
    if (!points.length) return [];
    const end = this.cursor ? this.view.toCanvas({ x: this.cursor.column + 0.5, y: this.cursor.row + 0.5 }) : this.at;
    const line = [...points, ...(end ? [end] : [])].map(({ x, y }) => `${x},${y}`).join(" ");
    return [shape("polyline", { points: line }), ...points.map(({ x, y }) => shape("circle", { cx: x, cy: y, r: 4 }))];
  }

  private cross(): SVGElement[] {
    if (!this.cursor) return [];
    const { x, y } = this.view.toCanvas({ x: this.cursor.column + 0.5, y: this.cursor.row + 0.5 });
    const path = `M${x - 14},${y}h9m10,0h9M${x},${y - 14}v9m0,10v9`;
    return [shape("path", { d: path, class: "cross-shade" }), shape("path", { d: path, class: "cross" })];
  }

  /** Say column, row, value and structure of a pixel, "" outside the image. */
  private describe({ column, row }: Pixel, name: Named): string {
    const { mask, slice, voxels } = this.drawing;
    const { rows, columns } = mask.shape;
    if (row < 0 || column < 0 || row >= rows || column >= columns || !voxels) return "";
    const label = mask.data[mask.at(slice, row) + column];
    const value = voxels.data[row * columns + column];
    const shown = Number.isInteger(value) ? String(value) : value.toPrecision(4);
    return `${column}, ${row}: ${shown}${label ? `, ${name(label)}` : ""}`;
  }
}

function shape(tag: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
