// Reasons of picks in a reader's words, as the server sends them; its sentence with numbers is shown on demand.

import { el, number } from "./dom";

/** What is known of a pick; other methods of selection have other numbers. */
export interface Evidence {
  reason?: string | null;
  /** the reason in a reader's words, without numbers */
  plain?: string | null;
  [name: string]: unknown;
}

const RANK = /\s*\(rank \d+ of \d+ in the plan\)/;

/** Say why an image was picked, without numbers where its method has words for it. */
export function reasonOf(pick: Evidence): string {
  return pick.plain ?? (pick.reason ?? "").replace(RANK, "");
}

const NUMBERS: [string, string][] = [
  ["rank", "pick of its plan"],
  ["of", "picks in the plan"],
  ["score", "score"],
  ["entropy", "uncertainty (0 lowest, 1 highest in this pool)"],
  ["raw_entropy", "entropy (nats)"],
  ["distance", "distance to the nearest labelled or picked"],
  ["cluster", "cluster"],
  ["alpha", "alpha"],
  ["stage", "stage"],
  ["round", "round"],
  ["role", "role"],
  ["plan", "plan number"],
];
const NOT_SHOWN = new Set(["image", "reason", "plain", "model", "encoder", "encoder_note", "projection", "seed", "provisional", "method", "clusters", "paper", "map_note", "client", "again", "expires_in", "progress", "marked_by", "why"]);

/** Return the numbers of a pick by name, for reading. */
export function numbersOf(pick: Evidence): [string, string][] {
  const named = new Set(NUMBERS.map(([name]) => name));
  const others = Object.keys(pick).filter((name) => !named.has(name) && !NOT_SHOWN.has(name));
  const all = [...NUMBERS, ...others.map((name): [string, string] => [name, name.replaceAll("_", " ")])];
  return all.filter(([name]) => pick[name] !== undefined && pick[name] !== null).map(([name, words]) => {
    const value = pick[name];
    if (typeof value === "number") return [words, name === "cluster" ? String(value + 1) : number(value)];
    return [words, typeof value === "string" ? value.replaceAll("_", " ") : JSON.stringify(value)];
  });
}

/** The server's sentence and the numbers, folded away; "" when there are none. */
export function numbersFolded(pick: Evidence): HTMLElement | string {
  const numbers = numbersOf(pick);
  const said = pick.reason && pick.reason !== reasonOf(pick) ? pick.reason : "";
  if (!numbers.length && !said) return "";
  const list = numbers.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  return el("details", { class: "numbers" }, el("summary", {}, "Numbers"), said && el("p", { class: "quiet" }, said), el("dl", { class: "facts" }, ...list));
}
