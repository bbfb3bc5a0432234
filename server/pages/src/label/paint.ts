// Shapes painted into one slice: brush strokes, polygons, filled areas.

import type { Edit, Mask } from "./mask";

/** A pixel by column and row. */
export interface Pixel {
  column: number;
  row: number;
}

const SLACK = 1e-9; // pixels; a centre on the rim counts

/** What a shape is painted with, on which slice; `aspect` is the height of a pixel by its width. */
export interface Ink {
  slice: number;
  value: number;
  aspect: number;
  test?: (at: number) => boolean;
}

/**
 * Paint a round brush drawn from the centre of one pixel to that of another.
 *
 * A pixel belongs to the stroke when its centre is at most half the `size` (pixel widths) from the line.
 */
export function stroke(edit: Edit, from: Pixel, to: Pixel, size: number, ink: Ink): void {
  const [radius, { aspect }] = [size / 2, ink];
  const [a, b] = [centre(from, aspect), centre(to, aspect)];
  const top = Math.floor((Math.min(a.y, b.y) - radius) / aspect);
  const bottom = Math.ceil((Math.max(a.y, b.y) + radius) / aspect);
  for (let row = Math.max(0, top); row < Math.min(bottom, edit.mask.shape.rows); row++) {
    const reach = crossing(a, b, radius, (row + 0.5) * aspect);
    if (reach) edit.span(ink.slice, row, Math.ceil(reach[0] - 0.5 - SLACK), Math.floor(reach[1] - 0.5 + SLACK) + 1, ink.value, ink.test);
  }
}

/** Paint a polygon, given by the pixels at its corners: those with their centre inside, and those on its rim. */
export function polygon(edit: Edit, corners: Pixel[], ink: Ink): void {
  const rows = corners.map((corner) => corner.row);
  for (let row = Math.max(0, Math.min(...rows)); row <= Math.max(...rows); row++) {
    const cuts = corners.flatMap((from, i) => cut(from, corners[(i + 1) % corners.length], row)).sort((a, b) => a - b);
    for (let i = 0; i + 1 < cuts.length; i += 2)
      edit.span(ink.slice, row, Math.ceil(cuts[i] - SLACK), Math.floor(cuts[i + 1] + SLACK) + 1, ink.value, ink.test);
  }
  corners.forEach((from, i) => stroke(edit, from, corners[(i + 1) % corners.length], 1, ink));
}

/** Fill the connected area (over edges) that has the label of one pixel. */
export function flood(edit: Edit, at: Pixel, ink: Ink): void {
  const { mask } = edit;
  const old = mask.data[mask.at(ink.slice, at.row) + at.column];
  if (old === ink.value) return;
  for (const { row, left, right } of area(mask, ink.slice, at, old)) edit.span(ink.slice, row, left, right, ink.value, ink.test);
}

interface Run {
  row: number;
  left: number;
  right: number;
}

/** Find the runs of the connected area of `value` around a pixel. */
function area(mask: Mask, slice: number, at: Pixel, value: number): Run[] {
  const { rows, columns } = mask.shape;
  const base = mask.at(slice, 0);
  const seen = new Uint8Array(rows * columns);
  const free = (row: number, column: number): boolean =>
    !seen[row * columns + column] && mask.data[base + row * columns + column] === value;
  const [runs, seeds]: [Run[], Pixel[]] = [[], [at]];
  for (let seed = seeds.pop(); seed; seed = seeds.pop()) {
    const { row } = seed;
    if (!free(row, seed.column)) continue;
    let [left, right] = [seed.column, seed.column + 1];
    while (left > 0 && free(row, left - 1)) left--;
    while (right < columns && free(row, right)) right++;
    seen.fill(1, row * columns + left, row * columns + right);
    runs.push({ row, left, right });
    for (const next of [row - 1, row + 1]) {
      if (next < 0 || next >= rows) continue;
      for (let column = left; column < right; column++)
        if (free(next, column) && (column === left || !free(next, column - 1))) seeds.push({ row: next, column });
    }
  }
  return runs;
}

interface Point {
  x: number;
  y: number;
}

function centre({ column, row }: Pixel, aspect: number): Point {
  return { x: column + 0.5, y: (row + 0.5) * aspect };
}

/** Return where a horizontal line at `y` enters and leaves all points within `radius` of a segment. */
function crossing(a: Point, b: Point, radius: number, y: number): [number, number] | null {
  let [left, right] = [Infinity, -Infinity];
  const take = (x: number): void => {
    left = Math.min(left, x);
    right = Math.max(right, x);
  };
  for (const end of [a, b]) {
    const half = radius * radius - (y - end.y) ** 2;
    if (half >= -SLACK) for (const sign of [-1, 1]) take(end.x + sign * Math.sqrt(Math.max(0, half)));
  }
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  if (length > 0) {
    const [across, along] = [(-(b.y - a.y) / length) * radius, ((b.x - a.x) / length) * radius];
    const corners = [[a.x + across, a.y + along], [b.x + across, b.y + along], [b.x - across, b.y - along], [a.x - across, a.y - along]];
    corners.forEach(([x, cornerY], i) => {
      const [x2, y2] = corners[(i + 1) % 4];
      if ((cornerY <= y && y2 >= y) || (y2 <= y && cornerY >= y))
        if (y2 !== cornerY) take(x + ((y - cornerY) / (y2 - cornerY)) * (x2 - x));
    });
  }
  return left <= right ? [left, right] : null;
}

/** Return the column where an edge crosses the centres of a row; a corner belongs to the edge below it. */
function cut(from: Pixel, to: Pixel, row: number): number[] {
  const [low, high] = from.row < to.row ? [from, to] : [to, from];
  if (row < low.row || row >= high.row) return [];
  return [low.column + ((row - low.row) / (high.row - low.row)) * (high.column - low.column)];
}
