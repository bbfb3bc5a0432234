// A label in memory, and changes to it that can be undone.

export type Voxels = Uint8Array | Uint16Array;

/** The size of an image as it is displayed; a picture has one slice. */
export interface Shape {
  slices: number;
  rows: number;
  columns: number;
}

/** A rectangle of pixels of one slice; `bottom` and `right` are exclusive. */
export interface Rect {
  slice: number;
  top: number;
  left: number;
  bottom: number;
  right: number;
}

const TILE = 64; // pixels per side of the pieces in which changes are kept

/** A label: slices x rows x columns in C order, 0 is background. */
export class Mask {
  readonly data: Voxels;
  readonly counts = new Map<number, number>(); // voxels of each structure

  constructor(readonly shape: Shape, data?: Voxels) {
    const size = shape.slices * shape.rows * shape.columns;
    this.data = data ?? new Uint8Array(size);
    if (this.data.length !== size) throw new Error(`the label has ${this.data.length} voxels, the image ${size}`);
    this.count(this.data, 1);
  }

  copy(): Mask {
    return new Mask(this.shape, this.data.slice());
  }

  equals(other: Mask): boolean {
    return same(this.data, other.data);
  }

  get empty(): boolean {
    return this.counts.size === 0;
  }

  /** Return whether a value fits this label's data type. */
  holds(value: number): boolean {
    return value < 256 || this.data instanceof Uint16Array;
  }

  at(slice: number, row: number): number {
    return (slice * this.shape.rows + row) * this.shape.columns;
  }

  /** Add (sign 1) or subtract (sign -1) the voxels of a piece to the counts. */
  count(piece: Voxels, sign: 1 | -1): void {
    let [value, run] = [0, 0];
    const add = (): void => {
      if (!value || !run) return;
      const sum = (this.counts.get(value) ?? 0) + sign * run;
      if (sum) this.counts.set(value, sum);
      else this.counts.delete(value);
    };
    for (let i = 0; i < piece.length; i++) {
      if (piece[i] !== value) {
        add();
        [value, run] = [piece[i], 0];
      }
      run++;
    }
    add();
  }
}

/** One kept piece: its contents, or the one value that fills it. */
type Piece = Voxels | number;

/** A finished change: the other contents of each tile that it touched. */
export interface Step {
  tool: string;
  tiles: Map<number, Piece>;
}

/** A change in progress: keeps what each tile contained before its first touch. */
export class Edit {
  private readonly before = new Map<number, Voxels>();
  private dirty: Rect | null = null;

  /** `open`: values that may be overwritten, by value (1 or 0); null for all. */
  constructor(readonly mask: Mask, readonly tool: string, private readonly open: Uint8Array | null = null) {}

  /** Set the pixels `left`..`right` (exclusive) of a row, clipped to the image, where `test` holds. */
  span(slice: number, row: number, left: number, right: number, value: number, test?: (at: number) => boolean): void {
    const { shape, data } = this.mask;
    if (row < 0 || row >= shape.rows) return;
    const [from, to] = [Math.max(0, left), Math.min(shape.columns, right)];
    if (from >= to) return;
    for (let tile = Math.floor(from / TILE); tile <= Math.floor((to - 1) / TILE); tile++)
      this.touch(tileOf(shape, slice, row, tile));
    const start = this.mask.at(slice, row);
    if (!this.open && !test) data.fill(value, start + from, start + to);
    else {
      for (let at = start + from; at < start + to; at++)
        if ((!this.open || this.open[data[at]]) && (!test || test(at))) data[at] = value;
    }
    this.grow(slice, row, from, to);
  }

  /** Return the rectangle changed since the last call, null for none; of the last slice that was touched. */
  takeDirty(): Rect | null {
    const { dirty } = this;
    this.dirty = null;
    return dirty;
  }

  /** Finish: return the step to be kept, null when nothing differs. */
  close(): Step | null {
    const tiles = new Map<number, Piece>();
    for (const [tile, before] of this.before) {
      const now = read(this.mask, tile);
      if (same(before, now)) continue;
      this.mask.count(before, -1);
      this.mask.count(now, 1);
      tiles.set(tile, packed(before));
    }
    return tiles.size ? { tool: this.tool, tiles } : null;
  }

  private touch(tile: number): void {
    if (!this.before.has(tile)) this.before.set(tile, read(this.mask, tile));
  }

  private grow(slice: number, row: number, left: number, right: number): void {
    const { dirty } = this;
    if (!dirty || dirty.slice !== slice) this.dirty = { slice, top: row, left, bottom: row + 1, right };
    else {
      dirty.top = Math.min(dirty.top, row);
      dirty.bottom = Math.max(dirty.bottom, row + 1);
      dirty.left = Math.min(dirty.left, left);
      dirty.right = Math.max(dirty.right, right);
    }
  }
}

/** Exchange a step's tiles with the mask's, which undoes it, or redoes it; return its extent on its first slice. */
export function exchange(mask: Mask, step: Step): Rect {
  for (const [tile, kept] of step.tiles) {
    const now = read(mask, tile);
    const other = typeof kept === "number" ? now.slice().fill(kept) : kept;
    write(mask, tile, other);
    mask.count(now, -1);
    mask.count(other, 1);
    step.tiles.set(tile, packed(now));
  }
  return extent(mask.shape, step, rectOf(mask.shape, step.tiles.keys().next().value as number).slice);
}

/** Return the rectangle around a step's tiles of one slice; an empty one when it has none there. */
export function extent(shape: Shape, step: Step, slice: number): Rect {
  const rects = [...step.tiles.keys()].map((tile) => rectOf(shape, tile)).filter((rect) => rect.slice === slice);
  if (!rects.length) return { slice, top: 0, left: 0, bottom: 0, right: 0 };
  return rects.reduce((one, other) => ({
    slice,
    top: Math.min(one.top, other.top),
    left: Math.min(one.left, other.left),
    bottom: Math.max(one.bottom, other.bottom),
    right: Math.max(one.right, other.right),
  }));
}

function tileOf({ rows, columns }: Shape, slice: number, row: number, tile: number): number {
  const [down, across] = [Math.ceil(rows / TILE), Math.ceil(columns / TILE)];
  return (slice * down + Math.floor(row / TILE)) * across + tile;
}

function rectOf({ rows, columns }: Shape, tile: number): Rect {
  const [down, across] = [Math.ceil(rows / TILE), Math.ceil(columns / TILE)];
  const slice = Math.floor(tile / (down * across));
  const top = (Math.floor(tile / across) - slice * down) * TILE;
  const left = (tile % across) * TILE;
  return { slice, top, left, bottom: Math.min(top + TILE, rows), right: Math.min(left + TILE, columns) };
}

function read(mask: Mask, tile: number): Voxels {
  const { slice, top, left, bottom, right } = rectOf(mask.shape, tile);
  const [width, size] = [right - left, (bottom - top) * (right - left)];
  const piece = mask.data instanceof Uint8Array ? new Uint8Array(size) : new Uint16Array(size);
  for (let row = top; row < bottom; row++) {
    const start = mask.at(slice, row);
    piece.set(mask.data.subarray(start + left, start + right), (row - top) * width);
  }
  return piece;
}

function write(mask: Mask, tile: number, piece: Voxels): void {
  const { slice, top, left, bottom, right } = rectOf(mask.shape, tile);
  const width = right - left;
  for (let row = top; row < bottom; row++)
    mask.data.set(piece.subarray((row - top) * width, (row - top + 1) * width), mask.at(slice, row) + left);
}

function same(one: Voxels, other: Voxels): boolean {
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}

function packed(piece: Voxels): Piece {
  const [first] = piece;
  return piece.every((value) => value === first) ? first : piece;
}
