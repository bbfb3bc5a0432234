// Draws what is visible of a slice and its label; the work depends on the window's size, not on the image's.

import type { Mask } from "./mask";
import { Slice } from "./voxels";

/** Where the image lies on the screen. */
export interface Placement {
  /** image coordinates (pixels, edges at whole numbers) of the screen's upper left corner */
  x: number;
  y: number;
  /** screen pixels per pixel's width, and per pixel's height */
  scale: number;
  aspect: number;
}

export interface Look {
  window: [number, number];
  invert: boolean;
}

const OUTSIDE = 0xffff; // "label" of what lies beside the image
const BESIDE = 0xff1f1b18; // its colour, as bytes a b g r
const MAX_PROBES = 4; // per axis, of the pixels that one screen pixel shows
const SMOOTH_BELOW = 8; // screen pixels per pixel, from which on pixels are shown as squares

/** Where a screen pixel looks along one axis: two samples and their weights, and the range that it covers. */
interface Axis {
  first: Int32Array;
  second: Int32Array;
  weight: Float32Array;
  centre: Int32Array;
  from: Int32Array;
  until: Int32Array;
}

export class Raster {
  readonly image: ImageData;
  private readonly out: Uint32Array;
  private readonly grey: Uint8ClampedArray;
  private readonly labels: Uint16Array;

  constructor(readonly width: number, readonly height: number) {
    this.image = new ImageData(width, height);
    this.out = new Uint32Array(this.image.data.buffer);
    this.grey = new Uint8ClampedArray(width * height);
    this.labels = new Uint16Array(width * height);
  }

  /** Sample the slice as grey values. */
  drawImage(slice: Slice, place: Placement, look: Look): void {
    const { width, height, grey } = this;
    const number = Slice.levelFor(place.scale);
    const { data, rows, columns } = slice.level(number);
    const factor = slice.level(0).columns / columns;
    const smooth = place.scale < SMOOTH_BELOW;
    const across = axis(place.x, place.scale, width, columns, factor, smooth);
    const down = axis(place.y, place.scale * place.aspect, height, rows, slice.level(0).rows / rows, smooth);
    const [low, high] = look.window;
    const gain = (look.invert ? -255 : 255) / Math.max(high - low, 1e-12);
    const offset = look.invert ? 255 : 0;
    for (let j = 0, at = 0; j < height; j++) {
      const [a, b, w] = [down.first[j] * columns, down.second[j] * columns, down.weight[j]];
      for (let i = 0; i < width; i++, at++) {
        const [c, d, v] = [across.first[i], across.second[i], across.weight[i]];
        const upper = data[a + c] + (data[a + d] - data[a + c]) * v;
        const lower = data[b + c] + (data[b + d] - data[b + c]) * v;
        grey[at] = (upper + (lower - upper) * w - low) * gain + offset;
      }
    }
  }

  /** Sample the label within a part of the screen. */
  drawLabel(mask: Mask, slice: number, place: Placement, part: Part): void {
    const { rows, columns } = mask.shape;
    const { data } = mask;
    const across = axis(place.x, place.scale, this.width, columns, 1, false);
    const down = axis(place.y, place.scale * place.aspect, this.height, rows, 1, false);
    const base = mask.at(slice, 0);
    for (let j = part.top; j < part.bottom; j++) {
      for (let i = part.left; i < part.right; i++) {
        const [row, column] = [down.centre[j], across.centre[i]];
        let value = row < 0 || column < 0 ? OUTSIDE : data[base + row * columns + column];
        if (!value && (down.until[j] - down.from[j] > 1 || across.until[i] - across.from[i] > 1))
          value = probe(data, base, columns, down, across, j, i);
        this.labels[j * this.width + i] = value;
      }
    }
  }

  /** Put grey values and labels together, in a part of the screen, with one table of colours per label. */
  compose(palette: Palette, part: Part): void {
    const { width, height, labels, grey, out } = this;
    for (let j = part.top; j < part.bottom; j++) {
      for (let i = part.left, at = j * width + i; i < part.right; i++, at++) {
        const label = labels[at];
        if (label === OUTSIDE) {
          out[at] = BESIDE;
          continue;
        }
        const rim =
          label !== 0 &&
          ((i > 0 && labels[at - 1] !== label) ||
            (i + 1 < width && labels[at + 1] !== label) ||
            (j > 0 && labels[at - width] !== label) ||
            (j + 1 < height && labels[at + width] !== label));
        out[at] = (rim ? palette.rims : palette.fills)[label][grey[at]];
      }
    }
  }
}

/** A part of the screen, in its pixels; `bottom` and `right` are exclusive. */
export interface Part {
  top: number;
  left: number;
  bottom: number;
  right: number;
}

/** Colours by label and grey value, as bytes a b g r: inside a structure, and on its rim. */
export interface Palette {
  fills: Uint32Array[];
  rims: Uint32Array[];
}

/** Make the palette; a value without colour is shown as the image alone. */
export function paletteOf(colours: Map<number, [number, number, number]>, opacity: number): Palette {
  const plain = table([0, 0, 0], 0);
  const size = Math.max(256, ...[...colours.keys()].map((value) => value + 1));
  const palette: Palette = { fills: new Array(size).fill(plain), rims: new Array(size).fill(plain) };
  for (const [value, colour] of colours) {
    palette.fills[value] = table(colour, opacity);
    palette.rims[value] = table(colour, Math.min(1, opacity + 0.55));
  }
  return palette;
}

function table(colour: [number, number, number], opacity: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, grey) => {
    const [r, g, b] = colour.map((channel) => Math.round(grey * (1 - opacity) + channel * opacity));
    return (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  });
}

/** Work out, for each screen pixel along an axis, which of `size` samples it shows; each covers `factor` pixels. */
function axis(start: number, scale: number, count: number, size: number, factor: number, smooth: boolean): Axis {
  const ints = (): Int32Array => new Int32Array(count);
  const [first, second, centre, from, until] = [ints(), ints(), ints(), ints(), ints()];
  const weight = new Float32Array(count);
  const clip = (at: number): number => Math.max(0, Math.min(size - 1, at));
  for (let i = 0; i < count; i++) {
    const at = (start + (i + 0.5) / scale) / factor;
    const left = smooth ? Math.floor(at - 0.5) : Math.floor(at);
    first[i] = clip(left);
    second[i] = smooth ? clip(left + 1) : first[i];
    weight[i] = smooth ? at - 0.5 - left : 0;
    centre[i] = at < 0 || at >= size ? -1 : Math.floor(at);
    from[i] = clip(Math.floor(at - 0.5 / scale));
    until[i] = Math.max(from[i] + 1, clip(Math.ceil(at + 0.5 / scale) - 1) + 1);
  }
  return { first, second, weight, centre, from, until };
}

/** Look for a label among the pixels that one screen pixel covers, so that small structures stay visible. */
function probe(data: ArrayLike<number>, base: number, columns: number, down: Axis, across: Axis, j: number, i: number): number {
  const stepDown = Math.ceil((down.until[j] - down.from[j]) / MAX_PROBES);
  const stepAcross = Math.ceil((across.until[i] - across.from[i]) / MAX_PROBES);
  for (let row = down.from[j]; row < down.until[j]; row += stepDown)
    for (let column = across.from[i]; column < across.until[i]; column += stepAcross) {
      const value = data[base + row * columns + column];
      if (value) return value;
    }
  return 0;
}
