// The desk: labels are drawn here. This file puts the parts of the page together.

import { get } from "./api";
import { byId, el } from "./dom";
import { Beside } from "./label/beside";
import { Clock } from "./label/clock";
import { askText } from "./label/dialogs";
import { Drawing } from "./label/drawing";
import { Guide } from "./guide";
import { Flow } from "./label/flow";
import type { Case } from "./label/cases";
import { Keys } from "./label/keys";
import { Marks } from "./label/marks";
import { Mask } from "./label/mask";
import type { Rect } from "./label/mask";
import { notice, say } from "./label/messages";
import { Pointer } from "./label/pointer";
import * as server from "./label/server";
import { Structures } from "./label/structures";
import { Toolbox } from "./label/toolbox";
import { View } from "./label/view";
import type { About } from "./label/voxels";
import type { Status } from "./status";

const STATUS_EVERY = 15_000; // milliseconds
const SOON = 1_000;
const TRAINING_EVERY = 3_000; // while a training runs
const NOTHING: About = { shape: { slices: 1, rows: 1, columns: 1 }, window: [0, 1], aspect: 1, spacing: null, version: "" };
const ASKED = "selection-name-asked";

class Desk {
  private now: Case | null = null;
  private polling = 0;
  private readonly guide = new Guide("label", () => this.poll());
  private readonly canvas = byId<HTMLCanvasElement>("canvas");
  private readonly drawing = new Drawing(new Mask(NOTHING.shape), NOTHING, {
    painted: (rect) => this.view.redrawLabel(rect),
    stepped: (rect) => void this.stepped(rect),
    chosen: () => this.chosen(),
    said: (text) => say(text),
  });
  private readonly view = new View(this.canvas, () => this.marks.draw());
  private readonly marks = new Marks(this.view, this.drawing);
  private readonly beside = new Beside(this.view);
  private readonly structures = new Structures(this.drawing, this.view);
  private readonly flow = new Flow(
    this.drawing,
    {
      open: (now, mask) => this.open(now, mask),
      exchange: (mask) => this.exchange(mask),
      close: () => (this.drawing.locked = true),
    },
    this.beside,
    new Clock(),
  );
  private readonly toolbox = new Toolbox(this.drawing, this.view, this.structures);
  private readonly keys = new Keys(this.view, this.drawing, {
    button: (key) => this.toolbox.press(key) || this.flow.handing.press(key),
    structure: (number) => this.structures.choose(number),
    find: () => this.structures.focusFind(),
    submit: () => this.flow.submit(),
    sliced: (by) => void this.goTo(this.drawing.slice + by),
    moved: (cursor) => this.marks.point(cursor, this.structures.name),
  });

  async start(): Promise<void> {
    new Pointer(this.view, this.drawing, {
      hovered: (at) => this.marks.hover(at, this.structures.name),
      sliced: (by) => void this.goTo(this.drawing.slice + by),
    });
    byId("slice").addEventListener("input", (event) => void this.goTo(Number((event.target as HTMLInputElement).value)));
    void this.poll();
    const reader = await this.reader();
    if (!reader) return;
    this.structures.set(reader.structures);
    this.beside.guideline(reader.guideline);
    const wanted = new URLSearchParams(location.search).get("image");
    await (wanted ? this.flow.choose(wanted) : this.flow.next({ resume: true }));
    this.beside.drafts(reader.drafts.filter((image) => image !== this.now?.image));
  }

  /** Find out who labels here, asking once; null when nothing can be labelled. */
  private async reader(): Promise<server.Reader | null> {
    let reader: server.Reader;
    try {
      reader = await server.reader();
    } catch (error) {
      notice((error as Error).message, [["Try again", () => location.reload()]]);
      return null;
    }
    if (!reader.authenticated && reader.kind !== "named" && !localStorage.getItem(ASKED)) reader = await this.introduce(reader);
    this.show(reader);
    if (reader.allowed) return reader;
    notice("You may look at this pool, but not label. Ask its lead for the role annotator.", []);
    return null;
  }

  private async introduce(reader: server.Reader, text = ""): Promise<server.Reader> {
    const title = "Who labels here?";
    const about = text || "Your name is kept with your labels, and your drafts are found under it.";
    const value = reader.kind === "named" ? reader.name : "";
    const name = await askText({ title, text: about, label: "Name", value, accept: "Go on", refuse: "Without a name", required: true });
    localStorage.setItem(ASKED, "yes");
    if (name === null) return reader;
    try {
      return await server.introduce(name);
    } catch (error) {
      return this.introduce(reader, (error as Error).message);
    }
  }

  private show(reader: server.Reader): void {
    const who = byId<HTMLButtonElement>("who");
    who.hidden = false;
    this.flow.handing.who = reader.name;
    who.textContent = reader.name;
    who.disabled = reader.authenticated;
    who.title = reader.authenticated ? "Signed in" : "Change the name";
    who.onclick = async () => this.show(await this.introduce(reader));
  }

  // the image ----------------------------------------------------------------------------------------

  private open(now: Case, mask: Mask): void {
    const { about } = now.images;
    const { slices } = about.shape;
    this.now = now;
    this.view.open(about, mask);
    this.drawing.open(mask, about);
    byId("slices").hidden = slices < 2;
    byId<HTMLInputElement>("slice").max = String(slices - 1);
    this.keys.place(null);
    this.structures.hide(false);
    this.structures.draw();
    void this.goTo(slices >> 1);
    clearTimeout(this.polling);
    this.polling = window.setTimeout(() => void this.poll(), SOON); // a label more
  }

  private exchange(mask: Mask): void {
    this.view.setMask(mask);
    this.drawing.open(mask, this.now!.images.about);
    this.structures.draw();
  }

  private async goTo(wanted: number): Promise<void> {
    const { now, drawing } = this;
    if (!now || drawing.drawing) return;
    const slice = Math.max(0, Math.min(now.images.about.shape.slices - 1, wanted));
    const moved = slice !== drawing.slice;
    [drawing.slice, drawing.voxels] = [slice, null];
    if (moved) drawing.dropCorners(Infinity);
    byId<HTMLInputElement>("slice").value = String(slice);
    byId("slice-shown").textContent = `${slice + 1} of ${now.images.about.shape.slices}`;
    const voxels = await now.images.slice(slice).catch((error: Error) => say(error.message, [], true));
    if (now !== this.now || slice !== drawing.slice || !voxels) return; // it has moved on
    drawing.voxels = voxels;
    this.view.show(slice, voxels);
    document.body.dataset.shown = now.image; // the page shows this image
    for (const near of [slice + 1, slice - 1, slice + 2])
      if (near >= 0 && near < now.images.about.shape.slices) now.images.slice(near).catch(() => {}); // asked again when shown
    if (moved) this.beside.sliced(slice);
  }

  private async stepped(rect: Rect): Promise<void> {
    if (rect.slice !== this.drawing.slice) await this.goTo(rect.slice);
    else this.view.redrawLabel(rect);
    if (this.structures.hidden) this.structures.hide(false); // what is drawn has to be seen
    this.structures.draw();
    this.chosen();
    this.flow.buttons();
  }

  private chosen(): void {
    this.toolbox?.draw();
    this.marks?.draw();
  }

  private async poll(): Promise<void> {
    clearTimeout(this.polling);
    let every = STATUS_EVERY;
    try {
      const status = await get<Status & { labelled: number; images: number }>("status");
      this.guide.show(status);
      this.flow.handing.allow(status.allowed.mark);
      every = ["queued", "running"].includes(status.training.state) ? TRAINING_EVERY : STATUS_EVERY;
      byId("status").textContent = `${status.labelled.toLocaleString("en")} of ${status.images.toLocaleString("en")} labelled`;
    } catch (error) {
      byId("status").replaceChildren(el("span", { class: "wrong" }, (error as Error).message));
    }
    clearTimeout(this.polling); // another may have begun meanwhile
    this.polling = window.setTimeout(() => void this.poll(), every);
  }
}

void new Desk().start();
