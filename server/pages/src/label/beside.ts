// Beside the image: why it was chosen, its neighbours, the heat map, the lead's guideline.

import { get, query } from "../api";
import { byId, el } from "../dom";
import type { History } from "../pool";
import { numbersFolded, reasonOf } from "../reasons";
import type { Evidence } from "../reasons";
import { thumbnail } from "../thumbnail";
import { uncertainty } from "./server";
import type { View } from "./view";

const OPACITY = 0.55; // of the heat map
const MAX_DRAFTS = 8; // listed
const TAGS = new Set("P H1 H2 H3 H4 H5 H6 UL OL LI STRONG EM CODE PRE BLOCKQUOTE BR HR TABLE THEAD TBODY TR TH TD".split(" "));

export class Beside {
  private image = "";
  private slice = 0;
  private readonly heat = byId<HTMLInputElement>("heat");

  constructor(private readonly view: View) {
    this.heat.addEventListener("change", () => void this.lay());
  }

  /** Show what is known of an image; `pick` is its hand-out, if it was handed out just now. */
  async open(image: string, pick: Evidence | null): Promise<History | null> {
    this.image = image;
    this.fill(null, null);
    byId("heat-choice").hidden = true;
    const history = await get<History>(query("images/history", { image })).catch(() => null);
    if (image !== this.image) return history; // another image has been opened since
    this.fill(inWords(pick, lastPick(history)), history);
    return history;
  }

  /** Offer the heat map if the model has one; `slice` is the one shown. */
  async offerHeat(image: string, slice: number): Promise<void> {
    this.slice = slice;
    const picture = await uncertainty(image, slice).catch(() => null);
    if (image !== this.image) return;
    byId("heat-choice").hidden = !picture;
    if (picture && this.heat.checked) this.view.setLayer({ picture, opacity: OPACITY });
  }

  sliced(slice: number): void {
    this.slice = slice;
    if (this.heat.checked && !byId("heat-choice").hidden) void this.lay();
  }

  guideline(html: string | null): void {
    byId("guideline-part").hidden = !html;
    if (!html) return;
    const { body } = new DOMParser().parseFromString(html, "text/html");
    byId("guideline").replaceChildren(...copied(body));
  }

  /** List the reader's drafts of other images, so that none is forgotten. */
  drafts(images: string[]): void {
    byId("drafts-part").hidden = !images.length;
    byId("drafts").replaceChildren(...images.slice(0, MAX_DRAFTS).map((image) => linkTo(image, "", false)));
  }

  private async lay(): Promise<void> {
    const { image, slice } = this;
    if (!this.heat.checked) return this.view.setLayer(null);
    const picture = await uncertainty(image, slice).catch(() => null);
    if (image === this.image && slice === this.slice && this.heat.checked) this.view.setLayer(picture && { picture, opacity: OPACITY });
  }

  private fill(pick: Evidence | null, history: History | null): void {
    byId("why-part").hidden = !pick?.reason;
    if (pick?.reason) byId("why").replaceChildren(reasonOf(pick), numbersFolded(pick));
    const near = history?.neighbours ?? [];
    byId("near-part").hidden = !near.length;
    byId("near").replaceChildren(...near.map((one) => linkTo(one.image, one.kind, true)));
  }
}

function linkTo(image: string, about: string, elsewhere: boolean): HTMLElement {
  const link = el("a", { href: query("label", { image }), target: elsewhere ? "_blank" : null, title: image });
  link.append(thumbnail(image), el("span", {}, el("strong", {}, image), about));
  return link;
}

function lastPick(history: History | null): Evidence | null {
  const given = history?.events.filter((one) => one.event === "handout" && one.reason) ?? [];
  const last = given[given.length - 1];
  return last ? { ...last.numbers, reason: last.reason, plain: last.plain } : null;
}

/** Give a hand-out the words that the history has for it; an answer may say first that it is given again. */
function inWords(pick: Evidence | null, last: Evidence | null): Evidence | null {
  if (!pick?.reason || !last?.reason || !last.plain || !pick.reason.endsWith(last.reason)) return pick ?? last;
  return { ...pick, plain: pick.reason.slice(0, -last.reason.length) + last.plain };
}

/** Copy text and plain elements of a parsed document; attributes are left out, but for addresses of web links. */
function copied(from: Node): (Node | string)[] {
  return [...from.childNodes].flatMap((node) => {
    if (node.nodeType === Node.TEXT_NODE) return [node.textContent ?? ""];
    if (!(node instanceof HTMLElement)) return [];
    if (node instanceof HTMLAnchorElement && /^https?:/.test(node.href)) {
      const link = el("a", { href: node.href, target: "_blank", rel: "noreferrer" });
      link.append(...copied(node));
      return [link];
    }
    if (!TAGS.has(node.tagName)) return copied(node);
    const element = document.createElement(node.tagName);
    element.append(...copied(node));
    return [element];
  });
}
