// Time spent on a case, without pauses.

const IDLE = 30_000; // milliseconds without a touch, from which on nobody is working

export class Clock {
  private spent = 0;
  private last = performance.now();

  constructor() {
    for (const name of ["pointermove", "pointerdown", "keydown", "wheel"] as const)
      document.addEventListener(name, () => this.touch(), { capture: true, passive: true });
  }

  /** Begin a case that has taken some seconds before. */
  start(seconds = 0): void {
    [this.spent, this.last] = [seconds * 1000, performance.now()];
  }

  get seconds(): number {
    return Math.round((this.spent + Math.min(IDLE, performance.now() - this.last)) / 100) / 10;
  }

  /** Return whether somebody was working within some milliseconds. */
  active(within: number): boolean {
    return performance.now() - this.last < within;
  }

  private touch(): void {
    const now = performance.now();
    this.spent += Math.min(IDLE, now - this.last);
    this.last = now;
  }
}
