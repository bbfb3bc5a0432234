// Mouse, pen and fingers on the canvas.

import type { Drawing } from "./drawing";
import type { View } from "./view";

const CLOSE = 8; // CSS pixels from a polygon's first corner that close it
const WHEEL_ZOOM = 1.0015; // per wheel step

type Action = "draw" | "pan" | "zoom" | "window" | "pinch" | null;

interface Place {
  x: number;
  y: number;
}

export interface Hooks {
  /** the pointer is over this place, null when it has left */
  hovered: (at: Place | null) => void;
  sliced: (by: number) => void;
}

export class Pointer {
  private action: Action = null;
  private from: Place = { x: 0, y: 0 };
  private startWindow: [number, number] = [0, 1];
  private readonly down = new Map<number, Place>();
  private hasPen = false; // fingers then move the image, and only the pen draws

  constructor(private readonly view: View, private readonly drawing: Drawing, private readonly hooks: Hooks) {
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"] as const)
      canvas.addEventListener(name, (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => hooks.hovered(null));
    canvas.addEventListener("dblclick", () => drawing.closePolygon(true));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  private press(event: PointerEvent): void {
    const at = placeOf(event);
    event.preventDefault();
    this.view.canvas.focus({ preventScroll: true });
    try {
      this.view.canvas.setPointerCapture(event.pointerId);
    } catch {
      // the pointer was lifted meanwhile
    }
    this.down.set(event.pointerId, at);
    this.hasPen ||= event.pointerType === "pen";
    if (this.down.size === 2) {
      this.drawing.cancel();
      this.action = "pinch";
      return;
    }
    if (this.down.size > 2) return;
    this.from = at;
    this.startWindow = [...this.view.look.window];
    this.action = this.actionOf(event);
    if (this.action === "draw") this.draw(at, (event.buttons & 32) > 0); // 32: the other end of a pen
  }

  private actionOf(event: PointerEvent): Action {
    if (event.button === 1) return "pan";
    if (event.button === 2) return "window";
    if (event.pointerType === "touch" && this.hasPen) return "pan";
    const { tool } = this.drawing;
    return tool === "pan" || tool === "zoom" || tool === "window" ? tool : "draw";
  }

  private draw(at: Place, erase: boolean): void {
    const { corners, tool } = this.drawing;
    if (tool === "polygon" && corners.length > 2) {
      const first = this.view.toCanvas({ x: corners[0].column + 0.5, y: corners[0].row + 0.5 });
      if (Math.hypot(first.x - at.x, first.y - at.y) < CLOSE) return this.drawing.closePolygon(true);
    }
    this.drawing.begin(this.view.pixelAt(at), erase);
  }

  private drag(event: PointerEvent): void {
    const at = placeOf(event);
    this.hooks.hovered(at);
    const before = this.down.get(event.pointerId);
    if (!before) return;
    if (this.action === "pinch") return this.pinch(event.pointerId, before, at);
    this.down.set(event.pointerId, at);
    if (this.action === "draw") {
      const events = event.getCoalescedEvents();
      for (const one of events.length ? events : [event]) this.drawing.extend(this.view.pixelAt(placeOf(one)));
    } else if (this.action === "pan") this.view.move(at.x - before.x, at.y - before.y);
    else if (this.action === "zoom") this.view.zoom(1.01 ** (before.y - at.y), this.from);
    else if (this.action === "window") this.window(at);
  }

  /** Drag to the right: more contrast range; downwards: brighter values become grey. */
  private window(at: Place): void {
    const [low, high] = this.startWindow;
    const { clientWidth, clientHeight } = this.view.canvas;
    const width = (high - low) * 4 ** ((at.x - this.from.x) / clientWidth);
    const middle = (low + high) / 2 + ((at.y - this.from.y) / clientHeight) * 2 * (high - low);
    this.view.look.window = [middle - width / 2, middle + width / 2];
    this.view.redraw();
  }

  private pinch(id: number, before: Place, at: Place): void {
    const other = [...this.down].find(([one]) => one !== id)?.[1];
    this.down.set(id, at);
    if (!other) return;
    const [was, now] = [distance(before, other), distance(at, other)];
    this.view.move((at.x - before.x) / 2, (at.y - before.y) / 2);
    if (was > 0 && now > 0) this.view.zoom(now / was, { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
  }

  private release(event: PointerEvent): void {
    if (!this.down.delete(event.pointerId)) return;
    if (this.action === "draw") this.drawing.end();
    if (!this.down.size || this.action !== "pinch") this.action = null; // the second finger of a pinch draws nothing
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const by = event.deltaY || event.deltaX;
    if (!by) return;
    if (event.shiftKey) this.drawing.notch(by < 0 ? 1 : -1);
    else if (this.drawing.mask.shape.slices > 1 && !event.ctrlKey) this.hooks.sliced(Math.sign(by));
    else this.view.zoom(WHEEL_ZOOM ** -Math.max(-300, Math.min(300, by)), placeOf(event));
  }
}

function placeOf(event: MouseEvent): Place {
  return { x: event.offsetX, y: event.offsetY };
}

function distance(one: Place, other: Place): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
