// Changes of a whole structure: smoother outlines, only its largest part.

import type { Edit, Mask } from "./mask";

const REACH = 2; // pixels around one that vote on it: 5 x 5

/** Smooth a structure in one slice: a pixel belongs to it when most of the 25 around it do. */
export function smooth(edit: Edit, slice: number, value: number): void {
  const { mask } = edit;
  const { rows, columns } = mask.shape;
  const box = bounds(mask, slice, value);
  if (!box) return;
  const [top, bottom] = [Math.max(0, box.top - REACH), Math.min(rows, box.bottom + REACH)];
  const [left, right] = [Math.max(0, box.left - REACH), Math.min(columns, box.right + REACH)];
  const votes = counted(mask, slice, value, { top, left, bottom, right });
  for (let row = top; row < bottom; row++) {
    const start = mask.at(slice, row);
    for (let column = left; column < right; column++) {
      const [now, most] = [mask.data[start + column], votes[(row - top) * (right - left) + column - left] > 12];
      if (most && now === 0) edit.span(slice, row, column, column + 1, value);
      if (!most && now === value) edit.span(slice, row, column, column + 1, 0);
    }
  }
}

/** Remove all of a structure but its largest part, connected over faces; slices count as one volume. */
export function keepLargest(edit: Edit, value: number): void {
  const runs = runsOf(edit.mask, value);
  const parts = joined(runs, edit.mask.shape.rows);
  const sizes = new Map<number, number>();
  runs.forEach((run, i) => sizes.set(parts[i], (sizes.get(parts[i]) ?? 0) + run.right - run.left));
  let [largest, most] = [-1, 0];
  for (const [part, size] of sizes) if (size > most) [largest, most] = [part, size];
  runs.forEach(({ slice, row, left, right }, i) => {
    if (parts[i] !== largest) edit.span(slice, row, left, right, 0);
  });
}

interface Box {
  top: number;
  left: number;
  bottom: number;
  right: number;
}

function bounds(mask: Mask, slice: number, value: number): Box | null {
  const { rows, columns } = mask.shape;
  let box: Box | null = null;
  for (let row = 0; row < rows; row++) {
    const line = mask.data.subarray(mask.at(slice, row), mask.at(slice, row) + columns);
    const left = line.indexOf(value);
    if (left < 0) continue;
    const right = line.lastIndexOf(value) + 1;
    box ??= { top: row, left, bottom: row, right };
    box = { top: box.top, left: Math.min(box.left, left), bottom: row + 1, right: Math.max(box.right, right) };
  }
  return box;
}

/** Count the structure's pixels among the 5 x 5 around each pixel of a box; what is outside the image does not count. */
function counted(mask: Mask, slice: number, value: number, { top, left, bottom, right }: Box): Uint8Array {
  const { rows, columns } = mask.shape;
  const width = right - left;
  const across = new Uint8Array((bottom - top + 2 * REACH) * width);
  for (let row = top - REACH; row < bottom + REACH; row++) {
    if (row < 0 || row >= rows) continue;
    const start = mask.at(slice, row);
    const has = (column: number): number => (column >= 0 && column < columns && mask.data[start + column] === value ? 1 : 0);
    let sum = 0;
    for (let column = left - REACH; column < left + REACH; column++) sum += has(column);
    for (let column = left; column < right; column++) {
      sum += has(column + REACH);
      across[(row - top + REACH) * width + column - left] = sum;
      sum -= has(column - REACH);
    }
  }
  const votes = new Uint8Array((bottom - top) * width);
  for (let at = 0; at < votes.length; at++)
    for (let line = 0; line <= 2 * REACH; line++) votes[at] += across[at + line * width];
  return votes;
}

interface Run {
  slice: number;
  row: number;
  left: number;
  right: number;
}

/** List the runs of a structure, ordered by slice, row and column. */
function runsOf(mask: Mask, value: number): Run[] {
  const { slices, rows, columns } = mask.shape;
  const runs: Run[] = [];
  for (let slice = 0; slice < slices; slice++)
    for (let row = 0; row < rows; row++) {
      const start = mask.at(slice, row);
      const line = mask.data.subarray(start, start + columns);
      for (let left = line.indexOf(value); left >= 0; ) {
        let right = left + 1;
        while (right < columns && line[right] === value) right++;
        runs.push({ slice, row, left, right });
        left = line.indexOf(value, right);
      }
    }
  return runs;
}

/** Return the part of each run: runs that overlap in neighbouring rows or slices have one part. */
function joined(runs: Run[], rows: number): Int32Array {
  const root = Int32Array.from(runs, (_, i) => i);
  const find = (i: number): number => {
    while (root[i] !== i) i = root[i] = root[root[i]];
    return i;
  };
  const lines = new Map<number, number[]>(); // the runs of each row
  runs.forEach(({ slice, row }, i) => {
    const line = slice * rows + row;
    const list = lines.get(line);
    if (list) list.push(i);
    else lines.set(line, [i]);
  });
  for (const [line, list] of lines) {
    const before = [...(line % rows ? [line - 1] : []), line - rows];
    for (const other of before.map((at) => lines.get(at) ?? [])) {
      let j = 0;
      for (const i of list) {
        while (j < other.length && runs[other[j]].right <= runs[i].left) j++;
        for (let k = j; k < other.length && runs[other[k]].left < runs[i].right; k++) root[find(i)] = find(other[k]);
      }
    }
  }
  return Int32Array.from(runs, (_, i) => find(i));
}
