// The case on the screen: what its label began with.

import { emptyMask } from "./cases";
import type { Case } from "./cases";
import type { Drawing } from "./drawing";
import type { Mask } from "./mask";
import type { Notes, Prelabel } from "./server";

const MODELS: Record<string, string> = { instant: "the instant model", segmentation: "the trained model" };

type Start = "empty" | "prelabel" | "draft" | "label";

export class Opened {
  readonly image: string;
  readonly mask: Mask; // to draw on
  start: Start;
  base: number; // version of the stored label that the drawing began with
  prelabel: Prelabel | null = null;
  unconfirmed = false; // the stored label equals a prediction
  private original: Mask | null; // what may be confirmed, or left as it is

  /** `mask`: a drawing of this reader to go on with; `leased`: it was handed out, also if it is labelled. */
  constructor(readonly from: Case, mask: Mask | null, readonly leased: boolean) {
    const { draft, stored } = from;
    this.image = from.image;
    this.start = mask || draft ? "draft" : stored ? "label" : "empty";
    this.base = (mask ? null : draft?.notes.base) ?? stored?.version ?? 0;
    this.mask = mask ?? draft?.mask ?? stored?.mask.copy() ?? emptyMask(from);
    this.original = this.start === "label" ? stored!.mask : null;
  }

  /** Begin with a prediction; return the label to draw on. */
  beginWith(found: Prelabel): Mask {
    [this.start, this.original] = ["prelabel", found.mask];
    return found.mask.copy();
  }

  /** Return whether the label is the one that the drawing began with. */
  isUntouched(drawing: Drawing): boolean {
    return !!this.original && (!drawing.changes || drawing.mask.equals(this.original));
  }

  /** Return whether the label, as it is, only waits for somebody to confirm it. */
  isAcceptable(drawing: Drawing): boolean {
    const waits = this.start === "prelabel" || this.unconfirmed || (this.start === "label" && this.leased);
    return waits && this.isUntouched(drawing) && !this.original!.empty;
  }

  notes(seconds: number, tools: Record<string, number>): Notes {
    const model = this.prelabel?.model ?? this.from.draft?.notes.model ?? "";
    return { seconds, tools, base: this.base, model, saved: Date.now() };
  }

  /** Say what the drawing began with. */
  get description(): string {
    if (this.start === "empty") return "Begins with an empty label.";
    if (this.start === "draft") return "Your draft goes on.";
    if (this.start === "label") return `Label version ${this.from.stored?.version}; saving makes a new version.`;
    const dice = this.prelabel?.dice;
    const model = this.prelabel?.model ?? "";
    return `Begins with the prediction of ${MODELS[model] ?? model}${dice == null ? "" : `, Dice ${dice.toFixed(2)} where measured`}.`;
  }
}
