// Why there is no map: no images, none that can be read, or work in progress.

import { el } from "./dom";
import { timeLeft } from "./status";
import type { MapStatus } from "./status";

const NAMED = 5; // images that cannot be read, listed

export function emptyText(status: MapStatus): Node[] {
  const { images, failed, progress, next_step } = status;
  if (!images) return [el("p", {}, el("strong", {}, "No images"), next_step.text)];
  if (failed === images) {
    const rows = Object.entries(status.failures).slice(0, NAMED).map(([image, reason]) => el("li", {}, `${image}: ${reason}`));
    const about = "Repair the files, or replace them; they are tried again by themselves.";
    return [el("p", {}, el("strong", {}, "No image can be read"), about), el("ul", {}, ...rows)];
  }
  if (progress?.error) return [el("p", { class: "wrong" }, el("strong", {}, "There is no map yet"), next_step.text)];
  if (next_step.action === "pretrain") return [el("p", {}, el("strong", {}, "There is no map yet"), next_step.text)];
  const far = progress?.total ? `${progress.step}, ${progress.done} of ${progress.total}${timeLeft(progress.seconds_left)}` : "starting";
  return [el("p", {}, el("strong", {}, "The images are being compared"), `${far}. The map appears here by itself.`)];
}
