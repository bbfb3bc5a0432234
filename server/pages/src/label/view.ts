// The canvas: where the image lies, and what has to be drawn again.

import type { Mask, Rect } from "./mask";
import type { Pixel } from "./paint";
import { paletteOf, Raster } from "./render";
import type { Look, Palette, Part, Placement } from "./render";
import type { About, Slice } from "./voxels";

const MARGIN = 0.96; // of the canvas that a fitted image fills
const MAX_SCALE = 64; // screen pixels per pixel
const MIN_SHOWN = 40; // screen pixels of the image that stay visible

/** A picture laid over the image, such as the heat map. */
export interface Layer {
  picture: ImageBitmap;
  opacity: number;
}

export class View {
  slice = 0;
  place: Placement = { x: 0, y: 0, scale: 1, aspect: 1 };
  look: Look = { window: [0, 1], invert: false };
  private readonly context: CanvasRenderingContext2D;
  private raster = new Raster(1, 1);
  private about: About | null = null;
  private shown: Slice | null = null;
  private mask: Mask | null = null;
  private palette: Palette = paletteOf(new Map(), 0);
  private layer: Layer | null = null;
  private stale: { image: boolean; parts: Part[] } = { image: false, parts: [] };
  private frame = 0;
  private fitted = true; // nobody has zoomed or moved the image

  /** `moved` is called after the image has moved on the screen. */
  constructor(readonly canvas: HTMLCanvasElement, private readonly moved: () => void) {
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: true }) as CanvasRenderingContext2D;
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Show another image, fitted to the canvas. */
  open(about: About, mask: Mask): void {
    [this.about, this.mask, this.shown, this.layer] = [about, mask, null, null];
    this.look = { window: [...about.window], invert: this.look.invert };
    this.place.aspect = about.aspect;
    this.fit();
  }

  /** Show a slice; null while it is being fetched. */
  show(slice: number, voxels: Slice | null): void {
    [this.slice, this.shown] = [slice, voxels];
    this.redraw();
  }

  get voxels(): Slice | null {
    return this.shown;
  }

  setMask(mask: Mask): void {
    this.mask = mask;
    this.redraw();
  }

  setColours(colours: Map<number, [number, number, number]>, opacity: number): void {
    this.palette = paletteOf(colours, opacity);
    this.redraw();
  }

  setLayer(layer: Layer | null): void {
    this.layer = layer;
    this.redraw();
  }

  /** Draw everything with the next frame. */
  redraw(): void {
    this.stale.image = true;
    this.schedule();
  }

  /** Draw what changed of the label with the next frame. */
  redrawLabel(rect: Rect): void {
    if (rect.slice !== this.slice) return;
    const { x, y, scale, aspect } = this.place;
    this.stale.parts.push(
      this.clipped({
        left: Math.floor((rect.left - x) * scale) - 2,
        right: Math.ceil((rect.right - x) * scale) + 2,
        top: Math.floor((rect.top - y) * scale * aspect) - 2,
        bottom: Math.ceil((rect.bottom - y) * scale * aspect) + 2,
      }),
    );
    this.schedule();
  }

  fit(): void {
    if (!this.about) return;
    const { rows, columns } = this.about.shape;
    const { width, height } = this.raster;
    const scale = MARGIN * Math.min(width / columns, height / (rows * this.place.aspect));
    this.place.scale = Math.max(scale, 1e-4);
    this.place.x = columns / 2 - width / 2 / this.place.scale;
    this.place.y = rows / 2 - height / 2 / (this.place.scale * this.place.aspect);
    this.move(0, 0);
    this.fitted = true;
  }

  /** Zoom by a factor around a place of the canvas (CSS pixels; its middle by default). */
  zoom(factor: number, at = this.middle()): void {
    const before = this.toImage(at);
    this.place.scale = Math.max(0.01, Math.min(MAX_SCALE, this.place.scale * factor));
    const after = this.toImage(at);
    this.place.x += before.x - after.x;
    this.place.y += before.y - after.y;
    this.move(0, 0);
  }

  /** Move the image on the screen, in CSS pixels. */
  move(right: number, down: number): void {
    if (!this.about) return;
    this.fitted = false;
    const { place } = this;
    const { rows, columns } = this.about.shape;
    const { width, height } = this.raster;
    const [across, along] = [place.scale, place.scale * place.aspect];
    const keep = (at: number, size: number, count: number, scale: number): number =>
      Math.max((MIN_SHOWN - size) / scale, Math.min(count - MIN_SHOWN / scale, at));
    place.x = keep(place.x - (right * this.density) / across, width, columns, across);
    place.y = keep(place.y - (down * this.density) / along, height, rows, along);
    this.redraw();
    this.moved();
  }

  /** Return image coordinates of a place of the canvas (CSS pixels). */
  toImage(at: { x: number; y: number }): { x: number; y: number } {
    const { x, y, scale, aspect } = this.place;
    return { x: x + (at.x * this.density) / scale, y: y + (at.y * this.density) / (scale * aspect) };
  }

  /** Return the place of the canvas (CSS pixels) of image coordinates. */
  toCanvas(at: { x: number; y: number }): { x: number; y: number } {
    const { x, y, scale, aspect } = this.place;
    return { x: ((at.x - x) * scale) / this.density, y: ((at.y - y) * scale * aspect) / this.density };
  }

  /** Return the pixel at a place of the canvas; it may lie outside the image. */
  pixelAt(at: { x: number; y: number }): Pixel {
    const { x, y } = this.toImage(at);
    return { column: Math.floor(x), row: Math.floor(y) };
  }

  /** Return CSS pixels per pixel's width. */
  get magnification(): number {
    return this.place.scale / this.density;
  }

  private get density(): number {
    return this.raster.width / (this.canvas.clientWidth || 1);
  }

  private middle(): { x: number; y: number } {
    return { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 };
  }

  private resize(): void {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width || !height) return;
    const middle = this.toImage(this.middle());
    this.raster = new Raster(Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio));
    [this.canvas.width, this.canvas.height] = [this.raster.width, this.raster.height];
    if (this.fitted) return this.fit();
    const now = this.toImage(this.middle());
    this.place.x += middle.x - now.x;
    this.place.y += middle.y - now.y;
    this.move(0, 0);
  }

  private schedule(): void {
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.frame = 0;
    const { raster, shown, mask, stale } = this;
    this.stale = { image: false, parts: [] };
    const all = { top: 0, left: 0, bottom: raster.height, right: raster.width };
    if (!shown || !mask) {
      this.context.fillStyle = "#181b1f";
      this.context.fillRect(0, 0, raster.width, raster.height);
      return;
    }
    if (stale.image) raster.drawImage(shown, this.place, this.look);
    for (const part of stale.image ? [all] : [union(stale.parts)]) {
      raster.drawLabel(mask, this.slice, this.place, part);
      raster.compose(this.palette, part);
      const { left, top, right, bottom } = part;
      if (right <= left || bottom <= top) continue;
      this.context.putImageData(raster.image, 0, 0, left, top, right - left, bottom - top);
      this.drawLayer(part);
    }
  }

  private drawLayer({ left, top, right, bottom }: Part): void {
    if (!this.layer || !this.about) return;
    const { context, about } = this;
    const { x, y, scale, aspect } = this.place;
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    context.globalAlpha = this.layer.opacity;
    const { rows, columns } = about.shape;
    context.drawImage(this.layer.picture, -x * scale, -y * scale * aspect, columns * scale, rows * scale * aspect);
    context.restore();
  }

  private clipped({ left, right, top, bottom }: Part): Part {
    const { width, height } = this.raster;
    return { left: Math.max(0, left), right: Math.min(width, right), top: Math.max(0, top), bottom: Math.min(height, bottom) };
  }
}

function union(parts: Part[]): Part {
  return {
    left: Math.min(...parts.map((part) => part.left)),
    right: Math.max(...parts.map((part) => part.right)),
    top: Math.min(...parts.map((part) => part.top)),
    bottom: Math.max(...parts.map((part) => part.bottom)),
  };
}
