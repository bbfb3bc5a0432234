// Cases: an image with its label so far, and the next one fetched ahead.

import { get, query } from "../api";
import { Mask } from "./mask";
import * as server from "./server";

const AHEAD = 2; // cases kept

/** An image and what there is of its label. */
export interface Case {
  image: string;
  images: server.Images;
  stored: server.Stored | null;
  draft: server.Draft | null;
  /** the better model's prediction; null when there is no model, or a label to begin with */
  prelabel: Promise<server.Prelabel | null>;
}

export class Cases {
  private readonly ahead = new Map<string, Promise<Case>>();

  /** Return a case, fetched ahead or now. */
  open(image: string): Promise<Case> {
    const found = this.ahead.get(image) ?? fetchCase(image);
    this.ahead.delete(image);
    return found;
  }

  /** Fetch what is handed out next, so that it appears at once. */
  async prefetch(now: string): Promise<void> {
    const { picks } = await get<{ picks: { image: string }[] }>(query("plan", { count: 3 }));
    const next = picks.map((pick) => pick.image).find((image) => image !== now);
    if (!next || this.ahead.has(next)) return;
    const fetched = fetchCase(next);
    this.ahead.set(next, fetched);
    void fetched.then(({ images }) => images.reduce(), () => {}); // what is drawn of a large image
    fetched.catch(() => this.ahead.delete(next)); // it will be fetched, and complained of, when it is opened
    while (this.ahead.size > AHEAD) this.ahead.delete(this.ahead.keys().next().value as string);
  }

  /** Ask for the pre-label of a case that had none; null while there is no model. */
  look({ image, images }: Case): Promise<server.Prelabel | null> {
    return server.prelabel(image, images.about.shape).catch(() => null);
  }

  /** Forget what was fetched ahead, because labels or models are new. */
  forget(): void {
    this.ahead.clear();
  }
}

async function fetchCase(image: string): Promise<Case> {
  const images = await server.Images.open(image);
  const { shape } = images.about;
  const [stored, draft] = await Promise.all([server.label(image, shape), server.draft(image, shape)]);
  const prelabel = stored ? Promise.resolve(null) : server.prelabel(image, shape);
  prelabel.catch(() => {}); // who opens the case hears of it
  return { image, images, stored, draft, prelabel };
}

export function emptyMask({ images }: Case): Mask {
  return new Mask(images.about.shape);
}
