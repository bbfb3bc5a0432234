// The server's data on the pool, as columns: entry i of each belongs to image i.

import type { Evidence } from "./reasons";

export interface Label {
  name: string;
  color: [number, number, number];
}

export interface PoolMap {
  version: string;
  ids: string[];
  x: number[];
  y: number[];
  state: number[];
  cluster: number[];
  entropy: (number | null)[];
  quality: (number | null)[];
  states: string[];
  labels: Label[];
  model: { round: number; fingerprint: string } | null;
  /** the model whose predictions are shown, and its measured Dice */
  predicts: { name: string; dice: number | null } | null;
  projection: string;
  failed: Record<string, string>;
  /** images not on the map, because they are copies of another image */
  copies: number;
  unmapped: number;
}

/** The pool on the page: the columns, and what follows from them. */
export interface Pool extends PoolMap {
  /** say how uncertain the model is of an image, compared with the others; "" where unknown */
  uncertain: (row: number) => string;
}

/** Rank the images by uncertainty, the highest first. */
export function ranked(pool: PoolMap): Pool {
  const rows = pool.entropy.flatMap((value, row) => (value === null ? [] : [row]));
  rows.sort((a, b) => (pool.entropy[b] as number) - (pool.entropy[a] as number));
  const rank = new Map(rows.map((row, at) => [row, at + 1]));
  const uncertain = (row: number): string => {
    const at = rank.get(row);
    if (!at) return "";
    if (at === 1) return "highest in this pool";
    return at === rows.length ? "lowest in this pool" : `${ordinal(at)} highest of ${rows.length}`;
  };
  return { ...pool, uncertain };
}

function ordinal(number: number): string {
  const ending = [11, 12, 13].includes(number % 100) ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th");
  return `${number}${ending}`;
}

export interface Pick extends Evidence {
  image: string;
}

export interface Neighbour {
  image: string;
  kind: string;
  distance: number;
  share?: number;
}

export interface Happening {
  id: number;
  time: number;
  event: string;
  who: string | null;
  reason: string | null;
  details: Record<string, unknown>;
  plain?: string | null;
  rule?: { name: string; text: string; paper: string | null };
  numbers?: Record<string, unknown>;
  plan?: number | null;
  neighbours?: Neighbour[];
}

export interface History {
  image: string;
  labelled: boolean;
  /** handed out once more although it has a label */
  reopened: boolean;
  /** the label equals a prediction or another label and counts only when somebody confirms it */
  unedited: boolean;
  /** of the final label: what is not kept of it, and doubts */
  warnings: string[];
  failed: string | null;
  events: Happening[];
  neighbours: Neighbour[];
}

/** A colouring of the map: a group for every image, and a name for each group. */
export interface Colouring {
  groups: Uint8Array | number[];
  names: string[];
  colors: string[];
  counts: number[];
  /** for numbers: lowest and highest value; the groups are then steps, the last one "unknown" */
  range?: [number, number];
}
