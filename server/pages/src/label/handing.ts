// Back to others: everything that this reader holds, and a finished case that somebody is to look at again.

import { byId, el } from "../dom";
import { notice, say } from "./messages";
import type { Choice } from "./messages";
import * as server from "./server";

const NAMED = 4; // images named in a message

interface Hooks {
  /** keep what is drawn, and close the image; return it, "" for none */
  leave: () => Promise<string>;
  next: () => unknown;
  choose: (image: string) => Promise<void>;
}

export class Handing {
  /** shown with what the reader decides, where nobody signs in */
  who = "";
  private mayReopen = false;
  private finished = ""; // the finished case on the screen
  private readonly another: Choice = ["Next image", () => this.hooks.next()];
  private readonly buttons = [byId<HTMLButtonElement>("reopen"), byId<HTMLButtonElement>("give-back")];

  constructor(private readonly hooks: Hooks) {
    const acts = [() => this.reopen(), () => this.giveBack()];
    this.buttons.forEach((button, at) => {
      const key = button.dataset.key as string;
      button.setAttribute("aria-keyshortcuts", key);
      button.append(" ", el("kbd", { "aria-hidden": "true" }, key));
      button.addEventListener("click", () => void acts[at]());
    });
  }

  /** Press the button that has a key; return whether there is one to press. */
  press(key: string): boolean {
    const button = this.buttons.find((one) => one.dataset.key === key && !one.hidden);
    button?.click();
    return !!button;
  }

  /** Offer reopening to those who may decide for others. */
  allow(mark: boolean): void {
    this.mayReopen = mark;
    this.draw();
  }

  /** `finished`: the image on the screen if it has a final label, else "". */
  show(finished: string): void {
    this.finished = finished;
    this.draw();
  }

  private draw(): void {
    this.buttons[0].hidden = !this.finished || !this.mayReopen;
  }

  /** Hand the case out once more, to whoever asks next. */
  private async reopen(): Promise<void> {
    const image = this.finished;
    try {
      await server.mark("reopen", image, this.who);
      say(`${image} is open again: whoever asks next gets it, with its label.`, [["Undo", () => this.close(image)]]);
    } catch (error) {
      say((error as Error).message, [], true);
    }
  }

  private async close(image: string): Promise<void> {
    try {
      await server.mark("none", image, this.who);
      say(`${image} is finished again.`);
    } catch (error) {
      say(`Not undone: ${(error as Error).message}`, [], true);
    }
  }

  private async giveBack(): Promise<void> {
    const open = await this.hooks.leave();
    try {
      const images = await server.giveAllBack();
      const undo: Choice = ["Undo", () => this.takeBack(images, open)];
      if (images.length) notice(`Given back: ${list(images)}. Whatever you drew is kept as a draft.`, [this.another, undo]);
      else notice("You hold no image.", [this.another]);
    } catch (error) {
      notice((error as Error).message, [["Try again", () => this.giveBack()], this.another]);
    }
    byId("notice").querySelector("button")?.focus();
  }

  /** Take the leases again; say which are gone. */
  private async takeBack(images: string[], open: string): Promise<void> {
    const gone: string[] = [];
    for (const image of images) await server.lease(image, true).catch((error: Error) => gone.push(error.message));
    const first = images.includes(open) ? open : images[0];
    await this.hooks.choose(first);
    if (gone.length) say(gone.join("; "), [this.another], true);
    else say(`Taken back: ${list(images)}.`);
  }
}

function list(images: string[]): string {
  const more = images.length - NAMED;
  return images.slice(0, NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
