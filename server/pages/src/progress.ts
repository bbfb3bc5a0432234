// Progress of background work, and the results so far, which the server renders.

import { ask, get, Refused } from "./api";
import { byId, el, number } from "./dom";
import { Guide } from "./guide";
import { timeLeft } from "./status";
import type { Status } from "./status";
import { explainTerms, term } from "./terms";

interface Work {
  name: string;
  done: number;
  total: number;
  unit: string;
  per_second: number | null;
  seconds_left: number | null;
  error: string | null;
}

interface Progress extends Status {
  counts: Record<string, string | number>;
  choosing: string; // how images are chosen, and what speaks for it
  measuring: string; // how models are measured now, and what comes
  warnings: string[];
  work: Work[];
  results: string; // changes with the results
}

const POLL_INTERVAL = 2000; // milliseconds
let shown = "";
let polling = 0;
const guide = new Guide("results", () => watch());

function rate(work: Work): string {
  return work.per_second === null ? "" : `, ${number(work.per_second, work.per_second < 10 ? 1 : 0)} ${work.unit} per second`;
}

function bar(work: Work): HTMLElement {
  const text = work.error
    ? `${work.name} failed: ${work.error}`
    : `${work.name}: ${work.done} of ${work.total} ${work.unit}${rate(work)}${timeLeft(work.seconds_left)}`;
  const element = el("div", { class: work.error ? "work wrong" : "work" }, el("p", {}, text));
  if (!work.error) element.append(el("progress", { value: work.done, max: Math.max(1, work.total), "aria-label": work.name }));
  return element;
}

async function refresh(): Promise<void> {
  const progress = await get<Progress>("progress/data");
  guide.show(progress);
  const counts = Object.entries(progress.counts).map(([name, value]) =>
    el("div", {}, el("dt", {}, term(name)), el("dd", {}, term(String(value)))),
  );
  byId("counts").replaceChildren(...counts);
  byId("choosing").textContent = progress.choosing;
  byId("measuring").textContent = progress.measuring;
  const work = progress.work.length ? progress.work.map(bar) : [el("p", { class: "quiet" }, "Nothing is running in the background.")];
  byId("work").replaceChildren(...work);
  byId("warnings").replaceChildren(...progress.warnings.map((text) => el("li", { class: "wrong" }, text)));
  if (progress.results !== shown) {
    // the server escapes names, and the Content-Security-Policy blocks scripts
    byId("results").innerHTML = await (await ask("results")).text();
    shown = progress.results;
  }
  byId("status").textContent = "";
}

async function download(name: string): Promise<void> {
  const url = URL.createObjectURL(await (await ask(name)).blob());
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function showError(error: unknown): void {
  byId("status").textContent = error instanceof Refused ? error.message : String(error);
}

async function watch(): Promise<void> {
  clearTimeout(polling);
  await refresh().catch(showError);
  clearTimeout(polling); // another may have begun meanwhile
  polling = window.setTimeout(() => void watch(), POLL_INTERVAL);
}

for (const button of document.querySelectorAll<HTMLButtonElement>("[data-file]")) {
  button.addEventListener("click", () => void download(button.dataset.file as string).catch(showError));
}
explainTerms();
void watch();
