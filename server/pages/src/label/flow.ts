// From one image to the next: open, submit, accept, skip, and what is done when the server refuses.

import { Refused } from "../api";
import { byId } from "../dom";
import type { Evidence } from "../reasons";
import type { Beside } from "./beside";
import { Cases, emptyMask } from "./cases";
import type { Case } from "./cases";
import type { Clock } from "./clock";
import { askText } from "./dialogs";
import type { Drawing } from "./drawing";
import { Elsewhere } from "./elsewhere";
import { Handing } from "./handing";
import { Keeping } from "./keeping";
import type { Mask } from "./mask";
import { hideNotice, notice, say } from "./messages";
import type { Choice } from "./messages";
import { Opened } from "./opened";
import * as server from "./server";

const RETRY = 3_000; // milliseconds until a server that does not answer is asked again
const WAIT = 15_000; // milliseconds until a pool that has nothing now is asked again
const LOOK = 2_000; // milliseconds until a model that was not there is asked again for a pre-label
const SLOW = 250; // milliseconds from which on it is said that an image is being opened
const SKIP_REASONS = ["not readable", "wrong view or body part", "poor quality", "needs an expert"];

interface Stage {
  /** show a case and its label; the voxels follow */
  open: (now: Case, mask: Mask) => void;
  /** show another label of the same image */
  exchange: (mask: Mask) => void;
  /** nothing is open any more */
  close: () => void;
}

/** How an image is opened. */
interface Opening {
  /** why it was handed out, if it was just now */
  pick: Evidence | null;
  leased: boolean;
  /** go on with this drawing */
  mask?: Mask | null;
  /** open it although another tab has it */
  anyway?: boolean;
}

export class Flow {
  private readonly cases = new Cases();
  private readonly elsewhere = new Elsewhere();
  private readonly keeping: Keeping;
  readonly handing = new Handing({
    leave: () => this.leave(),
    next: () => this.next(),
    choose: (image) => this.choose(image),
  });
  private now: Opened | null = null;
  private busy = false; // the label is being sent
  private timer = 0;

  constructor(
    private readonly drawing: Drawing,
    private readonly stage: Stage,
    private readonly beside: Beside,
    private readonly clock: Clock,
  ) {
    const work = () => (this.now && !this.busy ? { image: this.now.image, mask: drawing.mask, changes: drawing.changes, notes: this.notes() } : null);
    this.keeping = new Keeping(clock, work, {
      saved: (text) => (byId("saved").textContent = text),
      lost: (text) => say(`${text} Your drawing is kept; it can still be submitted.`, [this.another], true),
    });
    byId("submit").addEventListener("click", () => this.submit());
    byId("accept").addEventListener("click", () => void this.finish("confirmed"));
    byId("nothing").addEventListener("click", () => void this.finish("empty"));
    byId("skip").addEventListener("click", () => void this.skip());
    this.buttons();
  }

  private readonly another: Choice = ["Next image", () => this.next()];

  /** Update the buttons after a step. */
  buttons(): void {
    const { now, busy, drawing } = this;
    for (const id of ["submit", "nothing", "skip"]) byId<HTMLButtonElement>(id).disabled = !now || busy;
    byId<HTMLButtonElement>("accept").disabled = !now || busy || !now.isAcceptable(drawing);
    byId<HTMLButtonElement>("give-back").disabled = busy;
    this.handing.show(now?.from.stored ? now.image : "");
  }

  // opening ------------------------------------------------------------------------------------------

  /** Ask for the next image, and open it. `verb`: what `auto` is asked to do first. */
  async next(verb: Record<string, unknown> = {}): Promise<void> {
    this.close();
    try {
      const handout = await server.next(verb);
      if (!handout) return notice("Everything is labelled or skipped. Thank you.", [["Open the map", () => location.assign("map")]]);
      await this.open(handout.id, { pick: handout.selection, leased: true });
    } catch (error) {
      if (error instanceof Refused && error.status === 404 && Object.keys(verb).length) return this.next(); // its image has gone
      const text = (error as Error).message;
      notice(text.charAt(0).toUpperCase() + text.slice(1), [["Ask again", () => this.next()]]); // answers begin small
      this.later(unanswered(error) ? RETRY : WAIT, () => this.next(unanswered(error) ? verb : {}));
    }
  }

  /** Open an image that the reader chose; with `mask`, go on with that drawing. */
  async choose(image: string, mask: Mask | null = null): Promise<void> {
    this.close();
    await this.open(image, { pick: null, leased: false, mask });
  }

  private async open(image: string, about: Opening): Promise<void> {
    clearTimeout(this.timer);
    byId("image-name").textContent = image;
    say("");
    const slow = window.setTimeout(() => notice(`Opening ${image}…`, []), SLOW);
    let from: Case;
    const isOpen = about.anyway ? Promise.resolve(false) : this.elsewhere.has(image);
    try {
      from = await this.cases.open(image);
    } catch (error) {
      if (unanswered(error)) this.later(RETRY, () => this.open(image, about));
      return this.unopened(image, (error as Error).message, about.leased);
    } finally {
      clearTimeout(slow);
    }
    hideNotice();
    history.replaceState(null, "", `label?image=${encodeURIComponent(image)}`);
    this.elsewhere.opened(image);
    const now = this.begin(from, about.mask ?? null, about.leased);
    const leased = about.leased || (!from.stored && (await this.lease(image)));
    if (now !== this.now) return; // it was submitted meanwhile
    this.keeping.start(image, leased);
    void isOpen.then((open) => open && now === this.now && this.doubled(image, about));
    void this.beside.open(image, about.pick).then((history) => history?.unedited && now === this.now && this.unedited(now));
    void this.cases.prefetch(image).catch(() => {}); // then the next one is fetched when it is opened
  }

  /** Take the lease of a chosen image; say who has it when that fails. */
  private async lease(image: string): Promise<boolean> {
    try {
      await server.lease(image, true);
      return true;
    } catch (error) {
      say((error as Error).message, [this.another], true);
      return false;
    }
  }

  private begin(from: Case, mask: Mask | null, leased: boolean): Opened {
    const now = (this.now = new Opened(from, mask, leased));
    this.clock.start(from.draft?.notes.seconds);
    this.stage.open(from, now.mask);
    if (from.draft && !mask) this.drawing.uses = { ...from.draft.notes.tools };
    this.drawing.locked = false;
    byId("canvas").focus();
    this.describe(now);
    if (now.start === "empty") void this.lay(now);
    return now;
  }

  /** Begin with the pre-label when it comes, be it after the first label only; if something is drawn already, offer it. */
  private async lay(now: Opened, asked = now.from.prelabel): Promise<void> {
    const found = await asked.catch((error: Error) => {
      if (now === this.now) say(`There is no pre-label: ${error.message}`, [], true);
      return null;
    });
    if (now !== this.now) return;
    if (!found) return void setTimeout(() => now === this.now && this.lay(now, this.cases.look(now.from)), LOOK);
    now.prelabel = found;
    void this.beside.offerHeat(now.image, this.drawing.slice);
    if (this.drawing.changes || this.drawing.drawing) return say("The pre-label is here.", [["Use it instead", () => this.use(found)]]);
    this.stage.exchange(now.beginWith(found));
    this.describe(now);
  }

  private use(found: server.Prelabel): void {
    this.drawing.replace(found.mask);
    say("");
  }

  private describe(now: Opened): void {
    byId("start").textContent = now.description;
    this.buttons();
  }

  /** Ask for a confirmation of a label that nobody has looked at. */
  private unedited(now: Opened): void {
    now.unconfirmed = true;
    this.buttons();
    const confirm = async (): Promise<void> => {
      try {
        await server.confirm(now.image);
        now.unconfirmed = false;
        this.buttons();
        say(`${now.image} is confirmed.`);
      } catch (error) {
        say((error as Error).message, [], true);
      }
    };
    say("This label counts only when somebody confirms it.", [["Confirm", confirm]]);
  }

  /** Say that another tab of this browser has the image. */
  private doubled(image: string, about: Opening): void {
    this.keeping.stop();
    this.close();
    const anyway = (): unknown => this.open(image, { ...about, anyway: true });
    notice(`${image} is open in another tab of this browser. Label it there, or close that tab.`, [["Open it here", anyway]]);
  }

  private unopened(image: string, reason: string, leased: boolean): void {
    const skip = (): unknown => this.next({ skip: image, reason: reason.slice(0, 200) });
    notice(`${image} cannot be opened. ${reason}`, [leased ? ["Skip it", skip] : this.another]);
  }

  private close(): void {
    clearTimeout(this.timer);
    this.elsewhere.opened("");
    this.now = null;
    this.stage.close();
    this.buttons();
  }

  /** Keep what is drawn, and close the image; return it. */
  private async leave(): Promise<string> {
    const image = this.now?.image ?? "";
    this.drawing.end();
    await this.keeping.keep();
    this.keeping.stop();
    this.close();
    history.replaceState(null, "", "label");
    return image;
  }

  // finishing ----------------------------------------------------------------------------------------

  submit(): void {
    const { now, drawing } = this;
    if (!now || this.busy) return;
    if (drawing.mask.empty) return say("Nothing is drawn. If there is nothing to label, press Nothing to label.", [], true);
    if (!now.isUntouched(drawing)) return void this.finish("edited");
    if (now.start === "label" && !now.leased) return void this.next();
    const what = now.start === "label" ? "label" : "pre-label";
    say(`The ${what} is unchanged. If it is right, press Accept.`, [["Accept", () => this.finish("confirmed")]], true);
  }

  /** Save the label, then open the next image; whatever goes wrong, the drawing stays. */
  private async finish(state: server.Saving["state"], replace = false): Promise<void> {
    const { now, drawing } = this;
    if (!now || this.busy) return;
    drawing.end();
    const drawn = drawing.mask;
    const { seconds, tools, base, model } = this.notes();
    this.busy = drawing.locked = true;
    this.buttons();
    clearTimeout(this.timer);
    try {
      await this.keeping.settled();
      const mask = state === "empty" ? emptyMask(now.from) : drawn;
      const saved = await server.save(now.image, mask, { state, seconds, tools, base_version: base, model, replace });
      this.busy = false;
      this.keeping.stop();
      await this.next();
      this.report(now.image, state, saved, drawn);
    } catch (error) {
      this.busy = drawing.locked = false;
      this.buttons();
      this.refused(now.image, error, state);
    }
  }

  private report(image: string, state: string, { version, warnings, state: counted }: server.Saved, drawn: Mask): void {
    const empty = state === "empty";
    const words = empty ? "saved as having nothing to label" : "saved";
    const waits = counted === "unedited" || counted === "copied" ? "; it waits to be confirmed" : "";
    const text = [`${image} ${words}${version > 1 ? `, version ${version}` : ""}${waits}.`, ...warnings].join(" ");
    say(text, [empty ? ["Undo", () => this.back(image, drawn)] : ["Open it again", () => this.back(image, null)]]);
  }

  /** Go back to an image; the present one is given back. */
  private async back(image: string, mask: Mask | null): Promise<void> {
    this.keeping.giveBack();
    this.cases.forget();
    await this.choose(image, mask && !mask.empty ? mask : null);
    if (mask) say(`${image} is open again; submit it to replace the empty label.`);
  }

  private refused(image: string, error: unknown, state: server.Saving["state"]): void {
    const again = (replace: boolean) => (): unknown => this.finish(state, replace);
    const text = (error as Error).message;
    const status = error instanceof Refused ? error.status : null;
    if (unanswered(error)) {
      say(`${text} Your drawing is kept here, and sent as soon as it answers.`, [["Send now", again(false)]], true);
      this.later(RETRY, () => this.resend(state));
    } else if (status === 409) say(text, [["Save mine", again(true)], ["Open theirs", () => this.theirs(image)]], true);
    else if (status === 404) {
      const another: Choice = ["Next image", () => this.next({ release: image })];
      say(`${text} Your drawing cannot be saved; the image has been removed.`, [another], true);
    } else say(`Not saved, your drawing is kept: ${text}`, [["Try again", again(false)]], true);
  }

  /** Send again what could not be sent, but never cut a stroke short. */
  private resend(state: server.Saving["state"]): unknown {
    return this.drawing.drawing ? this.later(RETRY, () => this.resend(state)) : this.finish(state);
  }

  private async theirs(image: string): Promise<void> {
    await server.dropDraft(image);
    this.keeping.stop();
    await this.choose(image);
  }

  private async skip(): Promise<void> {
    const { now } = this;
    if (!now) return;
    const question = { title: `Skip ${now.image}`, text: "It is not offered to anybody until the skip is undone on the map.", label: "Reason" };
    const reason = await askText({ ...question, choices: SKIP_REASONS, accept: "Skip it", refuse: "Cancel", required: true });
    byId("canvas").focus();
    if (reason === null || now !== this.now) return;
    this.keeping.stop();
    await this.next({ skip: now.image, reason });
    say(`${now.image} skipped.`, [["Undo", () => this.unskip(now.image)]]);
  }

  private async unskip(image: string): Promise<void> {
    this.keeping.giveBack();
    await this.next({ unskip: image });
    await this.choose(image);
    say(`The skip of ${image} is undone.`);
  }

  private notes(): server.Notes {
    return this.now!.notes(this.clock.seconds, this.drawing.uses);
  }

  private later(milliseconds: number, act: () => unknown): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(act, milliseconds);
  }
}

/** Return whether the server did not answer, or cannot at the moment. */
function unanswered(error: unknown): boolean {
  return error instanceof Refused && [0, 502, 503, 504].includes(error.status);
}
