// Keeps what is drawn: drafts on the server every few seconds, and the lease of the image while somebody works.

import { Refused } from "../api";
import type { Clock } from "./clock";
import * as server from "./server";
import type { Mask } from "./mask";

const LOOK_EVERY = 500; // milliseconds
const DRAFT_EVERY = 2_000;
const LEASE_EVERY = 60_000;

/** What is being drawn now, and how it came about. */
export interface Work {
  image: string;
  mask: Mask;
  changes: number;
  notes: server.Notes;
}

export interface Heard {
  saved: (text: string) => void;
  /** the lease went to somebody else; the drawing is still here */
  lost: (text: string) => void;
}

export class Keeping {
  private kept = 0; // changes in the newest draft
  private sending: Promise<void> | null = null;
  private sent = 0; // when the newest draft was, by performance.now()
  private failing = false; // the last draft could not be kept
  private image = "";
  private leased = false;
  private renewed = 0;

  /** `work` returns what is drawn now, null when there is nothing to keep. */
  constructor(private readonly clock: Clock, private readonly work: () => Work | null, private readonly heard: Heard) {
    setInterval(() => void this.tick(), LOOK_EVERY);
    addEventListener("pagehide", () => this.giveBack());
    addEventListener("pageshow", (event) => event.persisted && location.reload()); // its lease was given back
    document.addEventListener("visibilitychange", () => document.hidden && void this.keep());
    addEventListener("beforeunload", (event) => this.failing && this.unsaved && event.preventDefault());
  }

  /** Begin with an image; `leased`: it is handed out to this reader. */
  start(image: string, leased: boolean): void {
    [this.image, this.leased, this.kept, this.renewed] = [image, leased, 0, performance.now()];
    this.heard.saved("");
  }

  /** Stop, because the label is saved or the image is skipped; its lease has ended. */
  stop(): void {
    [this.image, this.leased] = ["", false];
  }

  giveBack(): void {
    if (this.leased) server.giveBack(this.image);
  }

  private get unsaved(): boolean {
    const work = this.work();
    return !!work && work.image === this.image && work.changes !== this.kept;
  }

  private async tick(): Promise<void> {
    if (this.unsaved) {
      if (performance.now() - this.sent >= DRAFT_EVERY) await this.keep();
    } else if (this.leased && performance.now() - this.renewed > LEASE_EVERY && this.clock.active(LEASE_EVERY)) await this.renew();
  }

  /** Wait for a draft that is on its way, as it must not come after the label. */
  async settled(): Promise<void> {
    await this.sending;
  }

  /** Keep a draft now, if something is not kept yet. */
  async keep(): Promise<void> {
    await this.sending;
    const work = this.work();
    if (!work || this.sending || !this.unsaved) return;
    this.sending = this.send(work);
    await this.sending;
    this.sending = null;
  }

  private async send(work: Work): Promise<void> {
    this.sent = performance.now();
    try {
      const lost = await server.keepDraft(work.image, work.mask, work.notes);
      this.failing = false;
      if (work.image !== this.image) return;
      [this.kept, this.renewed] = [work.changes, performance.now()];
      this.heard.saved(`Draft kept at ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })}`);
      if (lost && this.leased) await this.renew();
    } catch (error) {
      this.failing = true;
      this.heard.saved(`Draft not kept: ${(error as Error).message}`);
    }
  }

  private async renew(): Promise<void> {
    const { image } = this;
    this.renewed = performance.now();
    try {
      await server.lease(image, true);
    } catch (error) {
      if (image !== this.image || !(error instanceof Refused) || error.status !== 409) return; // asked again later
      this.leased = false;
      this.heard.lost(error.message);
    }
  }
}
