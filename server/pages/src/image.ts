// One image: enlarged, with its label or prediction over it, and its history.

import { ask, get, pathOf, picture, post, query } from "./api";
import { byId, dot, el } from "./dom";
import type { Happening, History, Label, Neighbour, Pick } from "./pool";
import { numbersFolded, reasonOf } from "./reasons";
import { term } from "./terms";
import { thumbnail } from "./thumbnail";

const EVENTS: Record<string, string> = {
  handout: "Handed out",
  handout_ended: "Hand-out ended",
  label: "Label saved",
  skip: "Skipped",
  unskip: "Skip undone",
  reopen: "Opened again",
  mark: "Marked",
  unmark: "Mark removed",
  failed: "Could not be read",
  duplicate: "Found to be a copy",
  label_refused: "Label does not count",
  label_confirmed: "Label confirmed",
};

export interface Shown {
  image: string;
  facts: [string, string][];
  /** why the image is in the plan; null when it is not */
  pick: Pick | null;
  labels: Label[];
  hasModel: boolean;
  model: string;
}

export class ImagePanel {
  private readonly panel = byId("panel-image");
  private asked = 0;
  private wanted: string | null = null; // the user's last choice
  private of = "none";
  private open_: Shown | null = null;
  private laying = new AbortController();
  private slice: number | null = null; // null for the middle, and for pictures

  /** `reopen`: hands a finished image out once more, and returns what happened. */
  constructor(private readonly opened: (image: string) => void, private readonly reopen: (image: string) => Promise<string>) {
    this.panel.append(el("p", { class: "quiet" }, "Click an image on the map, or choose one in a list."));
  }

  get image(): string | null {
    return this.open_?.image ?? null;
  }

  async open(shown: Shown): Promise<void> {
    const asked = ++this.asked;
    if (this.open_?.image !== shown.image) this.slice = null;
    this.open_ = shown;
    this.laying.abort(); // predictions run one by one, and nobody waits for this one any more
    const stage = el("div", { class: "picture", id: "picture" });
    const heading = el("h2", { tabindex: -1 }, shown.image);
    const label = el("a", { class: "go", href: query("label", { image: shown.image }) }, "Label this");
    const past = el("div", {}, el("p", { class: "quiet" }, "Loading…"));
    const overlay = el("fieldset", { class: "overlays" }, el("legend", { class: "unseen" }, "Draw over the image"));
    const planned = shown.pick ? el("div", { class: "why", id: "planned" }, reasonOf(shown.pick), numbersFolded(shown.pick)) : "";
    const slices = el("div", { id: "slices" });
    this.panel.replaceChildren(heading, label, stage, slices, overlay, el("div", { class: "names", id: "names" }), facts(shown.facts), planned, past);
    void this.draw(stage, shown);
    let history: History;
    try {
      history = await get<History>(query("images/history", { image: shown.image }));
    } catch (error) {
      past.replaceChildren(el("p", { class: "wrong", role: "alert" }, (error as Error).message));
      return;
    }
    if (asked !== this.asked) return; // another image has been opened since
    overlay.append(...this.choices(history, shown, stage));
    past.replaceChildren(...this.past(history));
  }

  private choices(history: History, shown: Shown, stage: HTMLElement): Node[] {
    const offered: [string, string, boolean][] = [
      ["none", "Image only", true],
      ["label", "Label", history.labelled],
      ["prediction", "Prediction", shown.hasModel],
      ["uncertainty", "Uncertainty", shown.hasModel],
    ];
    const canKeep = offered.some(([of, , available]) => of === this.wanted && available);
    this.of = canKeep ? (this.wanted as string) : history.labelled ? "label" : "none";
    const radios = offered.map(([of, text, available]) => {
      const radio = el("input", { type: "radio", name: "overlay", value: of, disabled: !available });
      radio.checked = of === this.of;
      radio.addEventListener("change", () => {
        this.of = this.wanted = of;
        void this.lay(stage, shown);
      });
      return el("label", {}, radio, text);
    });
    void this.lay(stage, shown);
    return radios;
  }

  private async draw(stage: HTMLElement, shown: Shown): Promise<void> {
    const { slice } = this;
    try {
      const { url, slices } = await picture(this.path("images/picture", { image: shown.image }));
      if (this.open_ !== shown || slice !== this.slice) return; // it has moved on
      const image = el("img", { src: url, alt: `Image ${shown.image}`, id: "large" });
      const before = stage.querySelector("#large");
      if (before) before.replaceWith(image);
      else stage.prepend(image);
      if (slices > 1 && !byId("slices").childElementCount) this.addSlider(stage, shown, slices);
    } catch (error) {
      stage.querySelector("#large")?.remove();
      if (this.open_ === shown) stage.prepend(el("p", { role: "alert" }, (error as Error).message));
    }
  }

  private path(path: string, values: Record<string, string>): string {
    return query(path, this.slice === null ? values : { ...values, slice: this.slice });
  }

  /** Add the slider of a volume's slices; the image and what lies over it follow. */
  private addSlider(stage: HTMLElement, shown: Shown, count: number): void {
    const at = this.slice ?? count >> 1;
    const slider = el("input", { type: "range", min: 0, max: count - 1, value: at, id: "map-slice" });
    const output = el("output", { for: "map-slice" }, `${at + 1} of ${count}`);
    slider.addEventListener("input", () => {
      this.slice = Number(slider.value);
      output.textContent = `${this.slice + 1} of ${count}`;
      void this.draw(stage, shown);
      void this.lay(stage, shown);
    });
    byId("slices").replaceChildren(el("label", { class: "slices" }, "Slice", slider, output));
  }

  /** Lay the label or prediction over the picture, and name its colours. */
  private async lay(stage: HTMLElement, shown: Shown): Promise<void> {
    const of = this.of;
    this.laying.abort();
    const { signal } = (this.laying = new AbortController());
    stage.querySelector("#overlay")?.remove();
    const names = byId("names");
    names.replaceChildren();
    if (of === "none") return;
    names.append(of === "label" ? "" : "Applying the model…");
    const heat = of === "uncertainty";
    const path = heat ? this.path(of, { image: shown.image, legend: "false" }) : this.path("images/overlay", { image: shown.image, of });
    try {
      const answer = await ask(path, { signal });
      const src = URL.createObjectURL(await answer.blob());
      if (signal.aborted) return URL.revokeObjectURL(src);
      const layer = el("img", { src, id: "overlay", alt: `${of} of ${shown.image}`, "data-of": of });
      layer.addEventListener("load", () => URL.revokeObjectURL(src));
      stage.append(layer);
      if (heat) return names.replaceChildren(el("span", {}, `${shown.model}: the brighter, the less sure`));
      names.replaceChildren(
        ...(of === "prediction" ? [el("span", {}, `${shown.model}:`)] : []),
        ...shown.labels.map(({ name, color }) => el("span", {}, dot(`rgb(${color.join(",")})`), name)),
      );
    } catch (error) {
      if (!signal.aborted) names.replaceChildren(el("span", { class: "wrong", role: "alert" }, (error as Error).message));
    }
  }

  private past(history: History): Node[] {
    const parts: Node[] = [];
    if (history.failed) parts.push(el("p", { class: "wrong" }, history.failed));
    for (const warning of history.warnings) parts.push(el("p", { class: "wrong" }, `Label: ${warning}`));
    if (history.labelled) parts.push(this.finished(history));
    if (history.unedited) parts.push(this.unconfirmed(history.image));
    if (history.neighbours.length)
      parts.push(el("h3", {}, "Labelled or handed-out images that look most like it"), this.near(history.neighbours));
    parts.push(el("h3", {}, "History"));
    if (!history.events.length) parts.push(el("p", { class: "quiet" }, "Nothing has happened to this image yet."));
    else parts.push(el("ol", { class: "events" }, ...history.events.map((event) => this.happening(event))));
    return parts;
  }

  /** A finished image, and a button that hands it out once more. */
  private finished({ image, reopened }: History): HTMLElement {
    if (reopened) return el("p", { class: "quiet", id: "finished" }, "It is open again: it is handed out once more, with its label.");
    const button = el("button", { type: "button", title: "Hand this finished image out once more, with its label" }, "Open again");
    const text = el("p", { class: "quiet", id: "finished", role: "status" }, "It has a label. ", button);
    button.addEventListener("click", async () => text.replaceChildren(await this.reopen(image)));
    return text;
  }

  /** A label that equals a prediction, and a button that lets it count. */
  private unconfirmed(image: string): HTMLElement {
    const button = el("button", { type: "button" }, "Confirm");
    const text = el("p", { class: "why", id: "unedited" }, "This label counts only when somebody confirms it. ", button);
    button.addEventListener("click", async () => {
      try {
        await post(`image/${pathOf(image)}/confirm`, {});
        text.replaceChildren("The label is confirmed.");
      } catch (error) {
        text.replaceChildren((error as Error).message);
      }
    });
    return text;
  }

  private happening(one: Happening): HTMLElement {
    const [who, when] = [one.who ? ` · ${one.who}` : "", new Date(one.time * 1000)];
    const item = el("li", { "data-event": one.event }, el("strong", {}, title(one)), who);
    item.append(el("time", { datetime: when.toISOString() }, when.toLocaleString()));
    if (!one.rule) {
      if (one.reason) item.append(el("div", { class: "why" }, one.reason));
      return item;
    }
    const plan = one.plan ? { plan: one.plan } : {};
    const pick = { ...one.numbers, ...plan, reason: one.reason, plain: one.plain };
    const why = el("div", { class: "why" }, el("div", {}, reasonOf(pick)));
    const rule = `Rule ${one.rule.name}: ${one.rule.text}${one.rule.paper ? ` (${one.rule.paper})` : ""}.`;
    why.append(el("small", { class: "quiet" }, rule), numbersFolded(pick));
    item.append(why);
    if (one.neighbours?.length) item.append(el("small", { class: "quiet" }, "Compared with"), this.near(one.neighbours));
    return item;
  }

  private near(neighbours: Neighbour[]): HTMLElement {
    const buttons = neighbours.map((one) => {
      const far = one.share === undefined ? one.distance.toPrecision(3) : `${one.share.toPrecision(2)} of the map's width`;
      const button = el("button", { type: "button", title: `${one.image}: ${one.kind}, ${far} away on the map`, "data-image": one.image });
      button.append(thumbnail(one.image), el("span", {}, el("strong", {}, one.image), one.kind));
      button.addEventListener("click", () => this.opened(one.image));
      return button;
    });
    return el("div", { class: "near" }, ...buttons);
  }
}

function title(one: Happening): string {
  const { details } = one;
  if (one.event === "handout_ended") return `Hand-out ended: ${details.outcome}`;
  if (one.event === "label") {
    const tag = details.tag ? ` (${details.tag})` : "";
    return details.version ? `Label saved, version ${details.version}${tag}` : `Label saved${tag}`;
  }
  if (one.event === "opened") return `Opened: ${details.what}`;
  if (one.event === "label_warnings") return `Label: ${(details.warnings as string[]).join(" ")}`;
  if (one.event === "mark") return details.kind === "held_out" ? "Held out of training" : "Marked to come next";
  return EVENTS[one.event] ?? one.event.replaceAll("_", " ");
}

function facts(pairs: [string, string][]): HTMLElement {
  return el("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, term(name)), el("dd", {}, value)]));
}
