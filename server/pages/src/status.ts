// The server's status of selection, as far as the pages use it.

export interface Training {
  state: "idle" | "queued" | "running" | "done" | "failed" | "stopped";
  model: string;
  done: number;
  total: number | null;
  seconds_left: number | null;
  detail: string;
}

export interface Status {
  training: Training;
  /** labels that models are trained on, and those since the newest model */
  labels: { usable: number; new: number; trains_itself: boolean };
  next_step: { text: string; action: string; other: string };
  allowed: { label: boolean; mark: boolean; train: boolean };
}

/** What the map shows of it. */
export interface MapStatus extends Status {
  stage: string;
  round: number;
  labelled: number;
  images: number;
  failed: number;
  failures: Record<string, string>;
  warnings: string[];
  progress: { step: string; done: number; total: number; seconds_left: number | null; error: string | null } | null;
}

/** Say how far a training is. */
export function trainingWords({ state, model, done, total, seconds_left }: Training): string {
  const name = model === "pretraining" ? "Pretraining" : "Training";
  if (state === "queued") return `${name} waits for its turn`;
  if (!total) return `${name} is starting`;
  return `${name}: epoch ${done} of ${total}${timeLeft(seconds_left)}`;
}

export function timeLeft(seconds: number | null): string {
  if (seconds === null) return "";
  if (seconds < 90) return `, about ${Math.max(1, Math.round(seconds))} s left`;
  return seconds < 5400 ? `, about ${Math.round(seconds / 60)} min left` : `, about ${(seconds / 3600).toFixed(1)} h left`;
}
