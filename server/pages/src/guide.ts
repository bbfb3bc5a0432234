// The strip below the header of every page: what to do next, and the training with Train and Stop.

import { ask, post } from "./api";
import { byId, el } from "./dom";
import { trainingWords } from "./status";
import type { Status } from "./status";

const WORDS: Record<string, string> = { label: "Label the next image", train: "Train", pretrain: "Pretrain", results: "See the results" };
const LINKS: Record<string, string> = { label: "label", results: "progress" };
const MODELS: Record<string, string> = { train: "segmentation", pretrain: "pretraining" };
const ERROR_SHOWN = 10_000; // milliseconds

export class Guide {
  private readonly place = byId("guide");
  private error = "";
  private last: Status | null = null;
  private drawn = "";

  /** `here`: the action whose page this is; `changed`: called after a training was started or stopped. */
  constructor(private readonly here: string, private readonly changed: () => unknown) {}

  show(status: Status): void {
    this.last = status;
    const { next_step: step, training, allowed, labels } = status;
    const drawn = JSON.stringify([step, training, allowed, labels, this.error]);
    if (drawn === this.drawn) return; // keeps the focus
    this.drawn = drawn;
    const focused = this.place.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.action : null;
    const isBusy = training.state === "queued" || training.state === "running";
    const second = step.action === "train" || isBusy ? step.other : "train"; // Train is on every page
    this.place.replaceChildren(
      el("p", { class: "step", role: "status" }, el("strong", {}, "Next: "), step.text),
      ...[step.action, second].filter(Boolean).flatMap((action, at) => this.button(action, at === 0, status)),
      ...this.training(status, isBusy),
    );
    if (this.error) this.place.append(el("p", { class: "wrong", role: "alert" }, this.error));
    if (focused) (this.place.querySelector(`[data-action="${focused}"]`) as HTMLElement | null)?.focus();
  }

  private button(action: string, first: boolean, { allowed, labels }: Status): HTMLElement[] {
    if (action === this.here || (action === "label" && !allowed.label)) return [];
    const kind = first ? "go" : "also";
    if (action in LINKS) return [el("a", { class: kind, href: LINKS[action], "data-action": action }, WORDS[action])];
    if (!allowed.train) return [el("span", { class: "quiet" }, "An administrator starts trainings.")];
    const isEmpty = action === "train" && !labels.usable;
    const title = isEmpty ? "Label an image first" : action === "train" ? `Train a model on ${labels.usable} labels` : null;
    const button = el("button", { type: "button", class: kind, "data-action": action, disabled: isEmpty, title }, WORDS[action]);
    button.addEventListener("click", () => void this.act(() => post(`../train/${MODELS[action]}`, {})));
    return [button];
  }

  private training({ training, allowed }: Status, isBusy: boolean): HTMLElement[] {
    if (training.state === "failed") return [el("p", { class: "wrong" }, `The last training failed: ${training.detail || "see the server's log"}`)];
    if (training.state === "stopped") return [el("p", { class: "quiet" }, "The last training was stopped.")];
    if (!isBusy) return [];
    const bar = el("progress", { "aria-label": "Training", max: training.total ?? 1, value: training.total ? training.done : null });
    const box = el("div", { class: "training" }, bar, el("span", { class: "epochs" }, trainingWords(training)));
    if (allowed.train) {
      const stop = el("button", { type: "button", "data-action": "stop" }, "Stop");
      stop.addEventListener("click", () => void this.act(() => ask("../train/", { method: "DELETE" })));
      box.append(stop);
    }
    return [box];
  }

  private async act(send: () => Promise<unknown>): Promise<void> {
    try {
      await send();
      this.error = "";
    } catch (error) {
      this.error = (error as Error).message;
      setTimeout(() => this.forget(), ERROR_SHOWN);
    }
    if (this.last) this.show(this.last);
    this.changed();
  }

  private forget(): void {
    this.error = "";
    if (this.last) this.show(this.last);
  }
}
