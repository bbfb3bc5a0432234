// The label in memory: shapes, whole structures, undo.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { Edit, exchange, flood, keepLargest, Mask, polygon, smooth, stroke, Undo } = await load(
  "label/mask", "label/undo", "label/paint", "label/regions",
);
const SHAPE = { slices: 3, rows: 150, columns: 130 };
const ink = (value, more = {}) => ({ slice: 1, value, aspect: 1, ...more });
const at = (column, row) => ({ column, row });

function random(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647;
}

function recount(mask) {
  const counts = new Map();
  for (const value of mask.data) if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** Whether all voxels that differ lie within a rectangle. */
function covers({ slice, top, left, bottom, right }, one, other) {
  return one.every((value, i) => {
    const [column, row] = [i % SHAPE.columns, Math.floor(i / SHAPE.columns) % SHAPE.rows];
    const inside = i >= slice * SHAPE.rows * SHAPE.columns && i < (slice + 1) * SHAPE.rows * SHAPE.columns;
    return value === other[i] || (inside && row >= top && row < bottom && column >= left && column < right);
  });
}

/** Distance of (x, y) from a segment, for the definition of a stroke. */
function away(x, y, a, b) {
  const length = (b.x - a.x) ** 2 + (b.y - a.y) ** 2;
  const along = length ? Math.max(0, Math.min(1, ((x - a.x) * (b.x - a.x) + (y - a.y) * (b.y - a.y)) / length)) : 0;
  return Math.hypot(x - a.x - along * (b.x - a.x), y - a.y - along * (b.y - a.y));
}

test("a stroke paints all centres within half its size of the line", () => {
  const next = random(3);
  for (let round = 0; round < 60; round++) {
    const mask = new Mask(SHAPE);
    const [from, to] = [0, 1].map(() => at(Math.floor(next() * 150 - 10), Math.floor(next() * 170 - 10)));
    const [size, aspect] = [1 + 2 * Math.floor(next() * 12), [1, 0.5, 1.7][round % 3]];
    stroke(new Edit(mask, "brush"), from, to, size, ink(1, { aspect }));
    const [a, b] = [from, to].map(({ column, row }) => ({ x: column, y: row * aspect }));
    for (let row = 0; row < SHAPE.rows; row++)
      for (let column = 0; column < SHAPE.columns; column++) {
        const distance = away(column, row * aspect, a, b) - size / 2;
        if (Math.abs(distance) > 1e-6) assert.equal(mask.data[mask.at(1, row) + column], distance < 0 ? 1 : 0);
      }
  }
});

test("steps are undone and redone exactly, with their counts", () => {
  const next = random(5);
  const [mask, undo, states] = [new Mask(SHAPE), new Undo(), []];
  const point = () => at(Math.floor(next() * 130), Math.floor(next() * 150));
  for (let round = 0; round < 150; round++) {
    states.push(mask.data.slice());
    const edit = new Edit(mask, "any");
    if (round % 5 === 4) polygon(edit, [point(), point(), point(), point()], ink(2, { slice: 2 }));
    else stroke(edit, point(), point(), 9, ink(round % 3));
    const step = edit.close();
    if (step) undo.add(step);
    else states.pop();
  }
  assert.deepEqual(mask.counts, recount(mask));
  const last = mask.data.slice();
  for (const state of states.reverse()) {
    const before = mask.data.slice();
    assert.ok(covers(undo.undo(mask), before, state));
    assert.deepEqual(mask.data, state);
  }
  assert.deepEqual(mask.counts, new Map());
  assert.equal(undo.undo(mask), null);
  while (undo.redo(mask) !== null);
  assert.deepEqual(mask.data, last);
  assert.deepEqual(mask.counts, recount(mask));
});

test("a step keeps one number for a tile that is all of one value", () => {
  const mask = new Mask({ slices: 1, rows: 3000, columns: 3000 });
  const edit = new Edit(mask, "fill");
  flood(edit, at(5, 5), ink(1, { slice: 0 }));
  assert.ok([...edit.close().tiles.values()].every((piece) => piece === 0));
});

test("what may not be overwritten stays", () => {
  const mask = new Mask(SHAPE);
  stroke(new Edit(mask, "brush"), at(50, 50), at(50, 50), 21, ink(2));
  const open = new Uint8Array(1 << 16).fill(1);
  open[2] = 0;
  stroke(new Edit(mask, "brush", open), at(40, 50), at(60, 50), 9, ink(1));
  assert.equal(mask.data[mask.at(1, 50) + 50], 2);
  assert.equal(mask.data[mask.at(1, 50) + 38], 1);
});

test("a filled area ends at its outline", () => {
  const mask = new Mask(SHAPE);
  const edit = new Edit(mask, "brush");
  for (const [a, b] of [[at(10, 10), at(60, 10)], [at(60, 10), at(60, 60)], [at(60, 60), at(10, 60)], [at(10, 60), at(10, 10)]])
    stroke(edit, a, b, 1, ink(1));
  flood(edit, at(30, 30), ink(1));
  edit.close();
  assert.equal(mask.counts.get(1), 51 * 51);
});

test("the largest part is kept, through slices", () => {
  const mask = new Mask(SHAPE);
  const edit = new Edit(mask, "brush");
  stroke(edit, at(20, 20), at(20, 20), 9, ink(1, { slice: 0 }));
  stroke(edit, at(22, 20), at(22, 20), 9, ink(1));
  stroke(edit, at(80, 80), at(80, 80), 11, ink(1)); // larger than each, smaller than both
  stroke(edit, at(80, 30), at(80, 30), 5, ink(2));
  edit.close();
  const before = mask.counts.get(1);
  const step = new Edit(mask, "keep largest");
  keepLargest(step, 1);
  step.close();
  assert.equal(mask.data[mask.at(1, 80) + 80], 0);
  assert.equal(mask.data[mask.at(0, 20) + 20] + mask.data[mask.at(1, 20) + 22], 2);
  assert.ok(mask.counts.get(1) < before && mask.counts.get(2) > 0);
});

test("smoothing removes a spike and fills a notch", () => {
  const mask = new Mask(SHAPE);
  const edit = new Edit(mask, "polygon");
  polygon(edit, [at(20, 20), at(80, 20), at(80, 80), at(20, 80)], ink(1));
  stroke(edit, at(81, 50), at(95, 50), 1, ink(1));
  stroke(edit, at(50, 50), at(50, 50), 1, ink(0));
  edit.close();
  const step = new Edit(mask, "smooth");
  smooth(step, 1, 1);
  step.close();
  assert.equal(mask.data[mask.at(1, 50) + 90], 0);
  assert.equal(mask.data[mask.at(1, 50) + 50], 1);
});

test("a step that changes nothing is none", () => {
  const mask = new Mask(SHAPE);
  const edit = new Edit(mask, "eraser");
  stroke(edit, at(1, 1), at(50, 50), 9, ink(0));
  assert.equal(edit.close(), null);
  const other = new Edit(mask, "brush");
  stroke(other, at(1, 1), at(50, 50), 9, ink(1));
  const step = other.close();
  exchange(mask, step);
  assert.ok(mask.empty);
});
