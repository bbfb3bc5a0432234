// A renderer that draws straight onto the page's canvas. The plot's own renderer draws into a floating-point
// texture, then into a second canvas with four samples per pixel, and copies that: without a GPU, each of these
// costs more than 100,000 points do. If drawing is still too slow, only some points are drawn while the map moves.

import createRegl from "regl";
import { createRenderer } from "regl-scatterplot";

type Renderer = ReturnType<typeof createRenderer>;
type Count = (context: unknown, props: unknown) => number;

const EXTENSIONS = ["OES_texture_float", "OES_element_index_uint", "WEBGL_color_buffer_float", "EXT_float_blend"];
const SLOW = 28; // milliseconds per frame above which drawing is slow
const FEW = 8_000; // points drawn while slow
const REST = 200; // milliseconds after which the map is at rest

/** Measures the frame rate while the map moves, and redraws all points once it rests. */
export class Movement {
  private last = 0;
  private mean = 0;
  private timer = 0;
  private moving = false;
  private slow = false;

  constructor(private readonly rested: () => void) {}

  /** Note that the view changed in this frame. */
  moved(): void {
    const now = performance.now();
    if (this.moving) this.mean += 0.2 * (now - this.last - this.mean);
    this.slow ||= this.mean > SLOW; // permanently: fast frames with few points say nothing about all points
    [this.last, this.moving] = [now, true];
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.rest(), REST);
  }

  get most(): number {
    return this.moving && this.slow ? FEW : Infinity;
  }

  /** Whether some points are left out to keep up. */
  get isBehind(): boolean {
    return this.most < Infinity;
  }

  private rest(): void {
    const behind = this.isBehind;
    this.moving = false;
    if (behind) this.rested();
  }
}

export function directRenderer(canvas: HTMLCanvasElement, movement: Movement): Renderer {
  const attributes = { antialias: false, alpha: false, depth: false, stencil: false, preserveDrawingBuffer: false };
  const regl = createRegl({ canvas, attributes, optionalExtensions: EXTENSIONS });
  const listeners = new Set<() => void>();
  const frame = regl.frame(() => listeners.forEach((draw) => draw()));
  let destroyed = false;
  return {
    canvas,
    regl: new Proxy(regl, { apply: (make, self, [options]) => Reflect.apply(make, self, [thinned(options, movement)]) }),
    gamma: 1,
    isSupported: EXTENSIONS.every((name) => regl.hasExtension(name)),
    get isDestroyed() {
      return destroyed;
    },
    render(draw) {
      regl.clear({ color: [1, 1, 1, 1], depth: 1 });
      draw();
    },
    resize() {}, // the plot resizes its canvas, which is this one
    onFrame(draw) {
      listeners.add(draw);
      return () => listeners.delete(draw);
    },
    refresh: () => regl.poll(),
    destroy() {
      destroyed = true;
      frame.cancel();
      regl.destroy();
    },
  };
}

/** Limit a drawing command to the first points when there are too many; the plot's order is random. */
function thinned<T extends { primitive?: string; count?: unknown }>(options: T, movement: Movement): T {
  if (options.primitive !== "points") return options;
  const all = options.count as Count;
  const count: Count = (context, props) => Math.min(all(context, props), movement.most);
  return { ...options, count };
}
