// Undo and redo.

import { exchange } from "./mask";
import type { Mask, Rect, Step } from "./mask";

const MAX_STEPS = 200;

export class Undo {
  private readonly done: Step[] = [];
  private readonly undone: Step[] = [];

  add(step: Step): void {
    this.done.push(step);
    if (this.done.length > MAX_STEPS) this.done.shift();
    this.undone.length = 0;
  }

  /** Undo the last step; return its extent on its first slice, null when there is none. */
  undo(mask: Mask): Rect | null {
    return move(mask, this.done, this.undone);
  }

  redo(mask: Mask): Rect | null {
    return move(mask, this.undone, this.done);
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }
}

function move(mask: Mask, from: Step[], to: Step[]): Rect | null {
  const step = from.pop();
  if (!step) return null;
  to.push(step);
  return exchange(mask, step);
}
