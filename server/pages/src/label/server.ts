// What the page asks the server for: images, labels, drafts, leases, the next image.

import { ask, get, pathOf, post, query, Refused } from "../api";
import type { Evidence } from "../reasons";
import { Mask } from "./mask";
import type { Shape, Voxels } from "./mask";
import { Slice, valuesOf } from "./voxels";
import type { About } from "./voxels";

export interface Structure {
  name: string;
  value: number;
  colour: [number, number, number];
}

export interface Reader {
  kind: "named" | "browser" | "nobody";
  name: string;
  authenticated: boolean;
  structures: Structure[];
  /** HTML */
  guideline: string | null;
  /** images of which this reader has a draft, the newest first */
  drafts: string[];
  allowed: boolean;
}

/** An answer of `auto`: the image, and why it was chosen. */
export interface Handout {
  id: string;
  selection: Evidence;
}

export interface Prelabel {
  mask: Mask;
  model: string;
  dice: number | null;
}

export interface Stored {
  mask: Mask;
  version: number;
}

export interface Draft {
  mask: Mask;
  notes: Notes;
}

/** What a draft keeps beside the mask. */
export interface Notes {
  seconds: number;
  tools: Record<string, number>;
  base: number;
  model: string;
  saved: number; // milliseconds since 1970
}

export interface Saving {
  state: "edited" | "confirmed" | "empty";
  seconds: number;
  tools: Record<string, number>;
  base_version: number;
  model: string;
  replace?: boolean;
}

const AUTO = "../activelearning/auto";

export async function reader(): Promise<Reader> {
  return readerOf(await get("reader"));
}

export async function introduce(name: string): Promise<Reader> {
  return readerOf(await post("reader", { name }));
}

function readerOf(answer: Omit<Reader, "structures"> & { structures: { name: string; value: number; colour: string }[] }): Reader {
  const structures = answer.structures.map(({ name, value, colour }) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return { name, value, colour: [r, g, b] as [number, number, number] };
  });
  return { ...answer, structures };
}

/** Ask for an image; null when the pool is done. `verb`: what to do first, such as {skip, reason}. */
export async function next(verb: Record<string, unknown> = {}): Promise<Handout | null> {
  const answer = await post<Handout | Record<string, never>>(AUTO, verb);
  return "id" in answer ? (answer as Handout) : null;
}

export function path(image: string, what: string): string {
  return `image/${pathOf(image)}/${what}`;
}

/** An image's voxels; slices are fetched when they are needed. */
export class Images {
  private readonly slices = new Map<number, Promise<Slice>>();

  private constructor(readonly image: string, readonly about: About, private readonly dtype: string) {}

  /** Fetch what is known of an image, with one slice: the whole picture, or a volume's middle slice. */
  static async open(image: string): Promise<Images> {
    const answer = await ask(path(image, "voxels"), { headers: { Range: "bytes=0-0" } }); // for its headers
    const images = new Images(image, aboutOf(answer), header(answer, "X-Dtype"));
    await images.slice(images.about.shape.slices >> 1);
    return images;
  }

  slice(number: number): Promise<Slice> {
    let slice = this.slices.get(number);
    if (!slice) {
      slice = this.fetch(number);
      slice.catch(() => this.slices.delete(number));
      this.slices.set(number, slice);
    }
    return slice;
  }

  /** Make the smaller sizes of the first slice shown ahead of time. */
  async reduce(): Promise<void> {
    (await this.slice(this.about.shape.slices >> 1)).level(Infinity);
  }

  private async fetch(number: number): Promise<Slice> {
    const { slices, rows, columns } = this.about.shape;
    const answer = await ask(path(this.image, slices > 1 ? `voxels?slice=${number}` : "voxels"));
    return new Slice(valuesOf(await answer.arrayBuffer(), this.dtype), rows, columns);
  }
}

/** Return a model's prediction, null while there is no model. */
export async function prelabel(image: string, shape: Shape): Promise<Prelabel | null> {
  const answer = await unlessMissing(path(image, "prelabel"));
  if (!answer) return null;
  const dice = parseFloat(answer.headers.get("X-Dice") ?? "");
  const model = answer.headers.get("X-Model") ?? "";
  return { mask: await maskOf(answer, shape), model, dice: Number.isNaN(dice) ? null : dice };
}

/** Return the newest final label, null when there is none. */
export async function label(image: string, shape: Shape): Promise<Stored | null> {
  const answer = await unlessMissing(path(image, "label"));
  if (!answer) return null;
  return { mask: await maskOf(answer, shape), version: Number(header(answer, "X-Version")) };
}

export async function draft(image: string, shape: Shape): Promise<Draft | null> {
  const answer = await unlessMissing(path(image, "draft"));
  if (!answer) return null;
  const body = answer.body as ReadableStream<Uint8Array<ArrayBuffer>>;
  const bytes = await new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  const { dtype, ...notes } = JSON.parse(header(answer, "X-Draft"));
  return { mask: new Mask(shape, voxelsOf(bytes, dtype)), notes };
}

/** Keep a draft, which renews the lease; return whether there is no lease any more. */
export async function keepDraft(image: string, mask: Mask, notes: Notes): Promise<boolean> {
  const headers = { "X-Draft": JSON.stringify({ ...notes, dtype: dtypeOf(mask) }), "Content-Type": "application/octet-stream" };
  const answer = await ask(path(image, "draft"), { method: "PUT", headers, body: await packed(mask) });
  return ((await answer.json()) as { expires_in: number | null }).expires_in === null;
}

export async function dropDraft(image: string): Promise<void> {
  await ask(path(image, "draft"), { method: "DELETE" });
}

export interface Saved {
  label: string;
  version: number;
  state: string | null;
  warnings: string[];
}

export async function save(image: string, mask: Mask, saving: Saving): Promise<Saved> {
  const { slices, rows, columns } = mask.shape;
  const shape = slices > 1 ? [slices, rows, columns] : [rows, columns];
  const form = new FormData();
  form.append("mask", await packed(mask), "mask.gz");
  form.append("params", JSON.stringify({ ...saving, shape, dtype: dtypeOf(mask) }));
  return (await (await ask(path(image, "label"), { method: "PUT", body: form })).json()) as Saved;
}

export async function confirm(image: string): Promise<void> {
  await post(path(image, "confirm"), {});
}

/** Renew the lease of an image; `take` it if it is free. */
export async function lease(image: string, take: boolean): Promise<void> {
  await post(`lease/${pathOf(image)}`, { take });
}

/** Give a lease back while the page closes. */
export function giveBack(image: string): void {
  const url = `lease/${pathOf(image)}?release=1`;
  const token = sessionStorage.getItem("selection-token");
  if (!token) navigator.sendBeacon(url);
  else void fetch(url, { method: "POST", keepalive: true, headers: { Authorization: `Bearer ${token}` } });
}

/** Give back all images that this reader holds, and return them. */
export async function giveAllBack(): Promise<string[]> {
  const answer = await ask("leases", { method: "DELETE" });
  return ((await answer.json()) as { released: string[] }).released;
}

/** Mark an image: "reopen" hands a finished one out once more, "none" undoes that. `client`: who decides. */
export async function mark(kind: "reopen" | "none", image: string, client: string): Promise<void> {
  await post("marks", { kind, images: [image], client });
}

/** Return the heat map of a model's uncertainty, null where there is none. */
export async function uncertainty(image: string, slice: number): Promise<ImageBitmap | null> {
  const answer = await unlessMissing(query("uncertainty", { image, slice, legend: "false" }));
  return answer ? createImageBitmap(await answer.blob()) : null;
}

async function unlessMissing(path: string): Promise<Response | null> {
  try {
    const answer = await ask(path);
    return answer.status === 204 ? null : answer;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

function aboutOf(answer: Response): About {
  const sizes = header(answer, "X-Shape").split(",").map(Number);
  const [rows, columns] = sizes.slice(-2);
  const spacing = (answer.headers.get("X-Spacing") ?? "").split(",").map(Number);
  const known = spacing.length === 2 && spacing.every((size) => size > 0 && Number.isFinite(size));
  const aspect = known ? spacing[0] / spacing[1] : 1;
  const [low, high] = header(answer, "X-Window").split(",").map(Number);
  return {
    shape: { slices: sizes.length > 2 ? sizes[0] : 1, rows, columns },
    window: [low, high],
    aspect: Math.abs(aspect - 1) < 0.001 ? 1 : aspect,
    spacing: known ? [spacing[0], spacing[1]] : null,
    version: answer.headers.get("X-Version") ?? "",
  };
}

async function maskOf(answer: Response, shape: Shape): Promise<Mask> {
  return new Mask(shape, voxelsOf(await answer.arrayBuffer(), header(answer, "X-Dtype")));
}

function voxelsOf(bytes: ArrayBuffer, dtype: string): Voxels {
  return dtype === "uint16" ? new Uint16Array(bytes) : new Uint8Array(bytes);
}

function dtypeOf(mask: Mask): string {
  return mask.data instanceof Uint16Array ? "uint16" : "uint8";
}

async function packed(mask: Mask): Promise<Blob> {
  const stream = new Blob([mask.data as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).blob();
}

function header(answer: Response, name: string): string {
  const value = answer.headers.get(name);
  if (value === null) throw new Error(`the server's answer has no header ${name}`);
  return value;
}
