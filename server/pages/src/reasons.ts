// Reasons of picks in a reader's words; the server's own sentence and the numbers are shown on demand.

import { el, number } from "./dom";

/** What is known of a pick; other methods of selection have other numbers. */
export interface Evidence {
  reason?: string | null;
  role?: string | null;
  stage?: string | null;
  round?: number | null;
  cluster?: number | null;
  entropy?: number | null;
  distance?: number | null;
  score?: number | null;
  [name: string]: unknown;
}

const RANK = /\s*\(rank \d+ of \d+ in the plan\)/;
const UNSURE: [number, string][] = [[0.67, "is very unsure about it"], [0.33, "is rather unsure about it"], [-1, "is fairly sure about it"]];
const UNLIKE: [number, string][] = [[0.25, "it looks quite unlike"], [0.08, "it differs somewhat from"], [-1, "it looks much like"]];

/** Say why an image was picked, without numbers. */
export function reasonOf(pick: Evidence): string {
  const said = (pick.reason ?? "").replace(RANK, "");
  const again = /^(The same as a moment ago|Resumed|You hold)[^.]*\. /.exec(said)?.[0] ?? "";
  return again + (wordsOf(pick, said) ?? said.slice(again.length));
}

function wordsOf({ role, round, cluster, entropy, distance, stage }: Evidence, said: string): string | null {
  const model = round ? `The model of round ${round}` : "The model";
  const of = typeof cluster === "number" ? ` of cluster ${cluster + 1}, a group of images that look alike` : "";
  if (role === "medoid" && of) return `The most typical image${of}.`;
  if (role === "farthest" && stage === "cold_start" && of) return `The image of cluster ${(cluster as number) + 1} that looks least like those picked before it.`;
  if (role === "farthest" && said.startsWith("Waiting for the first model"))
    return "It looks least like the images labelled, being labelled or picked before it. The first model is not ready yet.";
  if (role === "most_uncertain") return `${model} is least sure about this image of all.`;
  if (role !== "combined" || typeof entropy !== "number" || typeof distance !== "number") return null;
  const [unsure, unlike] = [graded(entropy, UNSURE), graded(distance, UNLIKE)];
  const [isSure, isLike] = [entropy < 0.33, distance < 0.08];
  const and = isSure === isLike ? "and" : isLike ? "though" : "but";
  return `${model} ${unsure}, ${and} ${unlike} the labelled images.`;
}

function graded(value: number, words: [number, string][]): string {
  return (words.find(([least]) => value >= least) as [number, string])[1];
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
const NOT_SHOWN = new Set(["image", "reason", "model", "encoder", "encoder_note", "projection", "seed", "provisional", "method", "clusters", "paper", "map_note", "client", "again", "expires_in", "progress", "marked_by", "why"]);

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
