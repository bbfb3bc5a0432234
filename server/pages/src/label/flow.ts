// From one image to the next: open, submit, accept, skip, and what is done when the server refuses.

import { Refused } from "../api";
import { byId, el } from "../dom";
import type { Beside } from "./beside";
import { Cases, emptyMask } from "./cases";
import type { Case } from "./cases";
import type { Clock } from "./clock";
import { askText } from "./dialogs";
import type { Drawing } from "./drawing";
import { Keeping } from "./keeping";
import type { Work } from "./keeping";
import { Mask } from "./mask";
import * as server from "./server";

const RETRY = 3_000; // milliseconds until a server that does not answer is asked again
const WAIT = 15_000; // milliseconds until a pool that has nothing now is asked again
const SKIP_REASONS = ["not readable", "wrong view or body part", "poor quality", "needs an expert"];

type Start = "empty" | "prelabel" | "draft" | "label";

interface Stage {
  /** show a case and its label; the voxels follow */
  open: (now: Case, mask: Mask) => void;
  /** show another label of the same image */
  exchange: (mask: Mask) => void;
  /** nothing is open any more */
  close: () => void;
}

export class Flow {
  private readonly cases = new Cases();
  private readonly keeping: Keeping;
  private now: Case | null = null;
  private prelabel: server.Prelabel | null = null;
  private start: Start = "empty";
  private base = 0;
  private original: Mask | null = null; // what the drawing began with, if that can be confirmed or left as it is
  private unconfirmed = false; // the stored label equals a prediction
  private busy = false;
  private timer = 0;

  constructor(
    private readonly drawing: Drawing,
    private readonly stage: Stage,
    private readonly beside: Beside,
    private readonly clock: Clock,
  ) {
    this.keeping = new Keeping(clock, () => this.work(), {
      saved: (text) => (byId("saved").textContent = text),
      lost: (text) => this.say(`${text} Your drawing is kept; it can still be submitted.`, [["Next image", () => this.next()]], true),
    });
    byId("submit").addEventListener("click", () => this.submit());
    byId("accept").addEventListener("click", () => this.accept());
    byId("nothing").addEventListener("click", () => void this.finish("empty"));
    byId("skip").addEventListener("click", () => void this.skip());
    this.buttons();
  }

  // opening ------------------------------------------------------------------------------------------

  /** Ask for the next image, and open it. `verb`: what `auto` is asked to do first. */
  async next(verb: Record<string, unknown> = {}): Promise<void> {
    this.close();
    try {
      const handout = await server.next(verb);
      if (!handout) return this.notice("Everything is labelled. Thank you.", [["Open the map", () => location.assign("map")]]);
      await this.open(handout.id, { reason: handout.selection.reason ?? "", leased: true });
    } catch (error) {
      const again: Choice = ["Ask again", () => void this.next()];
      this.notice((error as Error).message, [again]);
      this.later(unanswered(error) ? RETRY : WAIT, () => this.next(unanswered(error) ? verb : {}));
    }
  }

  /** Open an image that the reader chose; with `mask`, go on with that drawing. */
  async choose(image: string, mask: Mask | null = null): Promise<void> {
    this.close();
    await this.open(image, { reason: "", leased: false, mask });
  }

  private async open(image: string, about: { reason: string; leased: boolean; mask?: Mask | null }): Promise<void> {
    clearTimeout(this.timer);
    byId("image-name").textContent = image;
    this.say("");
    const slow = window.setTimeout(() => this.notice(`Opening ${image}…`, []), 250);
    let now: Case;
    try {
      now = await this.cases.open(image);
    } catch (error) {
      if (unanswered(error)) this.later(RETRY, () => this.open(image, about));
      return this.unopened(image, (error as Error).message, about.leased);
    } finally {
      clearTimeout(slow);
    }
    byId("notice").hidden = true;
    history.replaceState(null, "", `label?image=${encodeURIComponent(image)}`);
    await this.begin(now, about.mask ?? null);
    const leased = about.leased || (!now.stored && (await this.lease(image)));
    this.keeping.start(image, leased);
    void this.beside.open(image, about.reason).then((history) => history?.unedited && now === this.now && this.ask(image));
    void this.cases.prefetch(image).catch(() => {}); // then the next one is fetched when it is opened
  }

  /** Take the lease of a chosen image; say who has it when that fails. */
  private async lease(image: string): Promise<boolean> {
    try {
      await server.lease(image, true);
      return true;
    } catch (error) {
      this.say((error as Error).message, [["Next image", () => this.next()]], true);
      return false;
    }
  }

  private async begin(now: Case, mask: Mask | null): Promise<void> {
    const { draft, stored } = now;
    [this.now, this.prelabel, this.original, this.unconfirmed] = [now, null, null, false];
    this.base = stored?.version ?? 0;
    this.start = mask || draft ? "draft" : stored ? "label" : "empty";
    this.clock.start(draft?.notes.seconds);
    this.stage.open(now, mask ?? draft?.mask ?? stored?.mask.copy() ?? emptyMask(now));
    if (draft && !mask) {
      this.drawing.uses = { ...draft.notes.tools };
      this.base = draft.notes.base;
    }
    if (this.start === "label") this.original = stored!.mask;
    this.drawing.locked = false;
    byId("canvas").focus();
    this.describe();
    if (this.start === "empty") void this.lay(now);
  }

  /** Lay the pre-label under the pen when it comes; if something is drawn already, offer it. */
  private async lay(now: Case): Promise<void> {
    const found = await now.prelabel.catch((error: Error) => {
      if (now === this.now) this.say(`There is no pre-label: ${error.message}`, [], true);
      return null;
    });
    if (!found || now !== this.now) return;
    this.prelabel = found;
    void this.beside.offerHeat(now.image, this.drawing.slice);
    if (this.drawing.changes || this.drawing.drawing) {
      this.say("The pre-label is here.", [["Use it instead", () => this.use(found)]]);
      return;
    }
    this.start = "prelabel";
    this.original = found.mask;
    this.stage.exchange(found.mask.copy());
    this.describe();
  }

  private use(found: server.Prelabel): void {
    this.drawing.replace(found.mask);
    this.say("");
  }

  private describe(): void {
    const { prelabel, now, start } = this;
    const dice = prelabel?.dice == null ? "" : `, Dice ${prelabel.dice.toFixed(2)} where measured`;
    const texts: Record<Start, string> = {
      empty: "Nothing is drawn yet.",
      prelabel: `Begins with the prediction of ${prelabel?.model}${dice}.`,
      draft: "Your draft goes on.",
      label: `Label version ${now?.stored?.version}; saving makes a new version.`,
    };
    byId("start").textContent = texts[start];
    this.buttons();
  }

  /** Ask for a confirmation of a label that nobody has looked at. */
  private ask(image: string): void {
    this.unconfirmed = true;
    this.buttons();
    const confirm = async (): Promise<void> => {
      try {
        await server.confirm(image);
        this.unconfirmed = false;
        this.buttons();
        this.say(`${image} is confirmed.`);
      } catch (error) {
        this.say((error as Error).message, [], true);
      }
    };
    this.say("This label equals a prediction, and counts only when somebody confirms it.", [["Confirm", confirm]]);
  }

  // finishing ----------------------------------------------------------------------------------------

  /** Update the buttons after a step. */
  buttons(): void {
    const open = !!this.now && !this.busy;
    for (const id of ["submit", "nothing", "skip"]) byId<HTMLButtonElement>(id).disabled = !open;
    const acceptable = this.start === "prelabel" || this.unconfirmed;
    byId<HTMLButtonElement>("accept").disabled = !open || !acceptable || !this.untouched || this.original!.empty;
  }

  submit(): void {
    if (!this.now || this.busy) return;
    if (this.drawing.mask.empty) return this.say("Nothing is drawn. If there is nothing to label, press Nothing to label.", [], true);
    if (!this.untouched) return void this.finish("edited");
    if (this.start === "label") return void this.next();
    this.say("The pre-label is unchanged. If it is right, press Accept.", [["Accept", () => this.accept()]], true);
  }

  private accept(): void {
    void this.finish("confirmed");
  }

  /** Save the label, then open the next image; whatever goes wrong, the drawing stays. */
  private async finish(state: server.Saving["state"], replace = false): Promise<void> {
    const { now, drawing } = this;
    if (!now || this.busy) return;
    const drawn = drawing.mask;
    const mask = state === "empty" ? emptyMask(now) : drawn;
    this.busy = drawing.locked = true;
    this.buttons();
    clearTimeout(this.timer);
    try {
      const { seconds, tools, base, model } = this.notes();
      const answer = await server.save(now.image, mask, { state, seconds, tools, base_version: base, model, replace });
      this.busy = false;
      this.keeping.stop();
      await this.next();
      this.report(now.image, state, answer, drawn);
    } catch (error) {
      this.busy = drawing.locked = false;
      this.buttons();
      this.refused(error, state);
    }
  }

  private report(image: string, state: string, { version, warnings, state: counted }: server.Saved, drawn: Mask): void {
    const words = state === "empty" ? "saved as having nothing to label" : counted === "unedited" ? "equals a prediction and waits to be confirmed" : "saved";
    const text = [`${image} ${words}${version > 1 ? `, version ${version}` : ""}.`, ...warnings].join(" ");
    this.say(text, [state === "empty" ? ["Undo", () => void this.back(image, drawn)] : ["Open it again", () => void this.back(image, null)]]);
  }

  /** Go back to an image; the present one is given back. */
  private async back(image: string, mask: Mask | null): Promise<void> {
    this.keeping.giveBack();
    this.cases.forget();
    await this.choose(image, mask && !mask.empty ? mask : null);
    if (mask) this.say(`${image} is open again; submit it to replace the empty label.`);
  }

  private refused(error: unknown, state: server.Saving["state"]): void {
    const again = (replace: boolean) => (): void => void this.finish(state, replace);
    const text = (error as Error).message;
    if (unanswered(error)) {
      this.say(`${text} Your drawing is kept here, and sent as soon as it answers.`, [["Send now", again(false)]], true);
      this.later(RETRY, again(false));
    } else if (error instanceof Refused && error.status === 409) {
      const image = this.now!.image;
      this.say(text, [["Save mine", again(true)], ["Open theirs", () => void this.theirs(image)]], true);
    } else if (error instanceof Refused && error.status === 404) {
      this.say(`${text} Your drawing cannot be saved; the image has been removed.`, [["Next image", () => void this.next()]], true);
    } else this.say(`Not saved, your drawing is kept: ${text}`, [["Try again", again(false)]], true);
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
    if (this.now) this.say(`${now.image} skipped.`, [["Undo", () => void this.unskip(now.image)]]);
  }

  private async unskip(image: string): Promise<void> {
    this.keeping.giveBack();
    await this.next({ unskip: image });
    await this.choose(image);
  }

  // what is known ------------------------------------------------------------------------------------

  /** Return whether the label is the one that the drawing began with. */
  private get untouched(): boolean {
    return !!this.original && (!this.drawing.changes || this.drawing.mask.equals(this.original));
  }

  private notes(): server.Notes {
    const model = this.prelabel?.model ?? this.now?.draft?.notes.model ?? "";
    return { seconds: this.clock.seconds, tools: this.drawing.uses, base: this.base, model, saved: Date.now() };
  }

  private work(): Work | null {
    if (!this.now || this.busy) return null;
    return { image: this.now.image, mask: this.drawing.mask, changes: this.drawing.changes, notes: this.notes() };
  }

  private close(): void {
    clearTimeout(this.timer);
    [this.now, this.original, this.prelabel] = [null, null, null];
    this.stage.close();
    this.buttons();
  }

  private unopened(image: string, reason: string, leased: boolean): void {
    const skip = (): void => void this.next({ skip: image, reason: reason.slice(0, 200) });
    const choices: Choice[] = leased ? [["Skip it", skip]] : [["Next image", () => void this.next()]];
    this.notice(`${image} cannot be opened. ${reason}`, choices);
  }

  private later(milliseconds: number, act: () => unknown): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(act, milliseconds);
  }

  say(text: string, choices: Choice[] = [], wrong = false): void {
    fill(byId("message"), text, choices);
    byId("message").classList.toggle("wrong", wrong);
  }

  notice(text: string, choices: Choice[]): void {
    byId("notice").hidden = false;
    byId("notice").replaceChildren(el("p", {}, text), ...choices.map(buttonOf));
  }
}

type Choice = [string, () => unknown];

function fill(place: HTMLElement, text: string, choices: Choice[]): void {
  place.replaceChildren(text, ...choices.map(buttonOf));
}

function buttonOf([text, act]: Choice): HTMLElement {
  const button = el("button", { type: "button" }, text);
  button.addEventListener("click", act);
  return button;
}

/** Return whether the server did not answer, or cannot at the moment. */
function unanswered(error: unknown): boolean {
  return error instanceof Refused && [0, 502, 503, 504].includes(error.status);
}
