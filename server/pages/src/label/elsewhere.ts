// Other tabs of this browser: they have one reader, so the server would give both the same image.

const WAIT = 1_000; // milliseconds that other tabs have for an answer; the image is opened meanwhile

type Message = { asked: string } | { open: string };

export class Elsewhere {
  private readonly channel = new BroadcastChannel("selection-desk");
  private image = "";

  constructor() {
    addEventListener("pagehide", () => this.opened("")); // before a reload asks
    this.channel.addEventListener("message", ({ data }: MessageEvent<Message>) => {
      if ("asked" in data && this.image && data.asked === this.image) this.channel.postMessage({ open: this.image });
    });
  }

  /** Say which image is open in this tab; "" for none. */
  opened(image: string): void {
    this.image = image;
  }

  /** Return whether another tab has an image open. */
  has(image: string): Promise<boolean> {
    return new Promise((done) => {
      const hear = ({ data }: MessageEvent<Message>): void => {
        if ("open" in data && data.open === image) end(true);
      };
      const end = (found: boolean): void => {
        this.channel.removeEventListener("message", hear);
        done(found);
      };
      this.channel.addEventListener("message", hear);
      this.channel.postMessage({ asked: image });
      setTimeout(() => end(false), WAIT);
    });
  }
}
