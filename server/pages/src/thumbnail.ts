// Thumbnails, loaded when they scroll into view.

import { picture, query } from "./api";
import { el } from "./dom";

export const thumbnailPath = (image: string): string => query("images/thumbnail", { image });

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    void fill(target as HTMLImageElement);
  }
});

export function thumbnail(image: string): HTMLImageElement {
  const picture = el("img", { class: "thumb", alt: "", "data-thumbnail": image });
  watcher.observe(picture);
  return picture;
}

async function fill(target: HTMLImageElement): Promise<void> {
  const image = target.dataset.thumbnail as string;
  try {
    target.src = (await picture(thumbnailPath(image))).url;
  } catch (error) {
    target.title = (error as Error).message;
  }
}
