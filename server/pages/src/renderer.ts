// Draws straight onto the page's canvas. The plot's own renderer draws into a floating-point picture, then into
// a second canvas with four samples per pixel, and copies that: without a GPU each of these costs more than
// 100,000 points do.

import createRegl from "regl";
import { createRenderer } from "regl-scatterplot";

type Renderer = ReturnType<typeof createRenderer>;
const EXTENSIONS = ["OES_texture_float", "OES_element_index_uint", "WEBGL_color_buffer_float", "EXT_float_blend"];

export function directRenderer(canvas: HTMLCanvasElement): Renderer {
  const attributes = { antialias: false, alpha: false, depth: false, stencil: false, preserveDrawingBuffer: false };
  const regl = createRegl({ canvas, attributes, optionalExtensions: EXTENSIONS });
  const listeners = new Set<() => void>();
  const frame = regl.frame(() => listeners.forEach((draw) => draw()));
  let destroyed = false;
  return {
    canvas,
    regl,
    gamma: 1,
    isSupported: EXTENSIONS.every((name) => regl.hasExtension(name)),
    get isDestroyed() {
      return destroyed;
    },
    render(draw, target) {
      if (canvas.width !== target.width || canvas.height !== target.height) {
        [canvas.width, canvas.height] = [target.width, target.height];
        regl.poll();
      }
      regl.clear({ color: [1, 1, 1, 1], depth: 1 });
      draw();
    },
    resize() {}, // it has the size of what it draws for
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
