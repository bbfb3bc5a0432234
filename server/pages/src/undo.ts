// Decisions about chosen images that can be undone, the newest first.

import { post } from "./api";

/** A request that marks images. */
export interface Marking {
  kind: string;
  reason: string;
  images: string[];
}

interface Decision {
  kind: string;
  images: string[];
  /** how many images it changed */
  changed: number;
  /** what marks them again as they were */
  before: Marking[];
}

const DONE: Record<string, string> = { skip: "skipped", next: "marked to come next", held_out: "held out", reopen: "opened again", none: "unmarked" };
const UNDONE: Record<string, string> = { skip: "Skip", next: "Next plan", held_out: "Hold out", reopen: "Open again", none: "Unmark" };

/** Say what a decision has done. */
export function done(kind: string, changed: number): string {
  return `${count(changed)} ${DONE[kind]}.`;
}

export class Undo {
  private readonly decisions: Decision[] = [];

  constructor(
    private readonly button: HTMLButtonElement,
    private readonly said: (text: string, wrong: boolean) => void,
    private readonly changed: () => Promise<void>,
  ) {
    button.addEventListener("click", () => void this.undo());
    this.draw();
  }

  add(decision: Decision): void {
    this.decisions.push(decision);
    this.draw();
  }

  private async undo(): Promise<void> {
    const last = this.decisions.pop();
    if (!last) return;
    this.button.disabled = true; // until the answer is here
    try {
      await post("marks", { kind: "none", images: last.images });
      for (const marking of last.before) await post("marks", marking);
      await this.changed();
      this.said(`Undone: ${UNDONE[last.kind]} of ${count(last.changed)}.`, false);
    } catch (error) {
      this.decisions.push(last);
      this.said(`Not undone: ${(error as Error).message}`, true);
    }
    this.draw();
  }

  private draw(): void {
    const last = this.decisions[this.decisions.length - 1];
    this.button.disabled = !last;
    this.button.title = last ? `Take back: ${UNDONE[last.kind]} of ${count(last.changed)}` : "Nothing has been done here yet";
  }
}

function count(images: number): string {
  return `${images.toLocaleString("en")} ${images === 1 ? "image" : "images"}`;
}
