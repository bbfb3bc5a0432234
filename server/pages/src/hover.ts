// The small card beside the mouse pointer.

import { picture } from "./api";
import { byId, el } from "./dom";
import { thumbnailPath } from "./thumbnail";

export class Hover {
  private readonly card = byId("hover");
  private row: string | null = null;

  /** Show an image's card beside a point of the map, or hide it. */
  show(image: string | null, lines: string[] = [], at: [number, number] = [0, 0]): void {
    this.row = image;
    this.card.hidden = !image;
    if (!image) return;
    const blank = el("div", { class: "blank" });
    this.card.replaceChildren(blank, el("strong", {}, image), ...lines.map((line) => el("div", {}, line)));
    const stage = this.card.parentElement as HTMLElement;
    const [width, height] = [stage.clientWidth, stage.clientHeight];
    const right = at[0] + 18 + this.card.offsetWidth < width;
    this.card.style.left = `${right ? at[0] + 18 : at[0] - 18 - this.card.offsetWidth}px`;
    this.card.style.top = `${Math.max(6, Math.min(at[1] - 40, height - this.card.offsetHeight - 6))}px`;
    picture(thumbnailPath(image)).then(
      ({ url }) => this.row === image && blank.replaceWith(el("img", { src: url, alt: "" })),
      (error) => this.row === image && blank.append((error as Error).message),
    );
  }
}
