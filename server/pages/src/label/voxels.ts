// The voxels of an image, slice by slice, also at reduced sizes.

import type { Shape } from "./mask";

export type Values = Uint8Array | Int16Array | Uint16Array | Float32Array;

/** A slice at one size: each level has half the sides of the one before. */
export interface Level {
  data: Values;
  rows: number;
  columns: number;
}

/** What all slices of an image share. */
export interface About {
  shape: Shape;
  /** lowest and highest value shown, at first */
  window: [number, number];
  /** height of a pixel by its width */
  aspect: number;
  /** size of a pixel in mm: between rows, between columns; null where it is not known */
  spacing: [number, number] | null;
  version: string;
}

/** One slice with its smaller levels, made when they are first needed. */
export class Slice {
  private readonly levels: Level[];

  constructor(readonly data: Values, rows: number, columns: number) {
    this.levels = [{ data, rows, columns }];
  }

  /** Return a level, 0 being the slice itself; the smallest is returned for larger numbers. */
  level(wanted: number): Level {
    while (this.levels.length <= wanted) {
      const last = this.levels[this.levels.length - 1];
      if (last.rows < 4 || last.columns < 4) return last;
      this.levels.push(halved(last));
    }
    return this.levels[wanted];
  }

  /** Return the number of levels made below full size for `scale` screen pixels per pixel. */
  static levelFor(scale: number): number {
    return Math.max(0, Math.floor(-Math.log2(scale) + 0.01));
  }
}

export function valuesOf(bytes: ArrayBuffer, dtype: string): Values {
  if (dtype === "uint8") return new Uint8Array(bytes);
  if (dtype === "int16") return new Int16Array(bytes);
  if (dtype === "uint16") return new Uint16Array(bytes);
  if (dtype === "float32") return new Float32Array(bytes);
  throw new Error(`the server sent voxels of an unknown type, ${dtype}`);
}

function halved({ data, rows, columns }: Level): Level {
  const [down, across] = [rows >> 1, columns >> 1];
  const half = new (data.constructor as new (size: number) => Values)(down * across);
  for (let row = 0; row < down; row++) {
    let at = 2 * row * columns;
    for (let column = 0; column < across; column++, at += 2)
      half[row * across + column] = (data[at] + data[at + 1] + data[at + columns] + data[at + columns + 1]) / 4;
  }
  return { data: half, rows: down, columns: across };
}
