// The plan as an ordered list, and a preview of the plan with another alpha.

import { get, post, query } from "./api";
import { byId, el, number } from "./dom";
import type { Pick } from "./pool";
import { reasonOf } from "./reasons";
import { term } from "./terms";
import { thumbnail } from "./thumbnail";

const COUNT = 20;
const STAGES: Record<string, string> = {
  preparing: "The pool is being prepared; until then, images are chosen at random.",
  bridging: "Until the first model is ready, images that look least like the labelled ones.",
  done: "Every image is labelled or skipped.",
};

interface Plan {
  stage: string;
  picks: Pick[];
  note: string | null;
  method: string | null; // what is chosen in this stage
  alpha: number | string; // a number or "adaptive"
  weighs: boolean; // alpha plays a part
  setting: number | string; // the server's setting
}

interface Preview {
  alpha: number;
  configured: number;
  round: number;
  picks: Pick[];
}

interface Events {
  picked: (images: string[]) => void;
  previewed: (images: string[]) => void;
  opened: (image: string) => void;
}

export class PlanPanel {
  images: string[] = [];
  private picks: Pick[] = [];
  private readonly list = el("ol", { class: "picks", "aria-label": "Next images, in order" });
  private readonly about = el("p", { class: "quiet" });
  private readonly other = el("div", { id: "preview", hidden: true });
  private readonly weighing = el("div", { class: "alpha", hidden: true });
  private readonly slider = el("input", { id: "alpha", type: "range", min: 0, max: 1, step: 0.05, value: 0.3 });
  private readonly value = el("output", { for: "alpha" }, "as configured");
  private readonly back = el("button", { type: "button", class: "plain", hidden: true }, "Back to the plan");
  private readonly apply = el("button", { type: "button", id: "apply-alpha", hidden: true }, "Use this alpha from now on");
  private readonly revert = el("button", { type: "button", id: "revert-alpha", class: "plain", hidden: true });
  private asked = 0;
  private timer = 0;
  private previewing = false;

  constructor(private readonly events: Events) {
    const label = el("label", { for: "alpha" }, "What if ", term("alpha"), " were…", this.value);
    const ends = el("div", { class: "ends" }, el("span", {}, "0: uncertain"), el("span", {}, "1: diverse"));
    this.weighing.append(label, this.slider, ends, this.apply, this.back, this.revert, this.other);
    byId("panel-plan").append(this.weighing, this.about, this.list);
    this.slider.addEventListener("input", () => this.slid());
    this.back.addEventListener("click", () => this.stop());
    this.apply.addEventListener("click", () => void this.use(Number(this.slider.value)));
    this.revert.addEventListener("click", () => void this.use(null));
  }

  /** Return the place of an image among the next ones (from 1; 0 when absent), and why it is there. */
  why(image: string): { rank: number; pick: Pick | null } {
    const at = this.images.indexOf(image);
    return { rank: at + 1, pick: this.picks[at] ?? null };
  }

  /** Reload the plan, and the preview if one is open. */
  async refresh(): Promise<void> {
    const plan = await get<Plan>(query("plan", { count: COUNT }));
    this.images = plan.picks.map((pick) => pick.image);
    this.picks = plan.picks;
    const stage = plan.stage.replaceAll("_", " ");
    this.about.replaceChildren(term(stage, stage.charAt(0).toUpperCase() + stage.slice(1)), `. ${plan.note ?? plan.method ?? STAGES[plan.stage] ?? ""}`);
    this.fill(this.list, plan.picks, []);
    this.weighing.hidden = !plan.weighs || !["active", "done"].includes(plan.stage); // before, there is no model to weigh
    this.revert.hidden = plan.alpha === plan.setting;
    this.revert.textContent = `alpha is now ${plan.alpha}: back to the setting, ${plan.setting}`;
    if (!this.previewing && typeof plan.alpha === "number") this.slider.value = String(plan.alpha);
    this.events.picked(this.images);
    if (this.previewing) await this.preview();
  }

  /** Let the server plan with this alpha, in this round and later ones. */
  private async use(alpha: number | null): Promise<void> {
    try {
      await post("alpha", { alpha });
    } catch (error) {
      this.showPreview([el("p", { class: "wrong", role: "alert" }, (error as Error).message)]);
      return;
    }
    this.stop();
    await this.refresh();
  }

  private slid(): void {
    this.value.textContent = Number(this.slider.value).toFixed(2);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.preview(), 200);
  }

  private async preview(): Promise<void> {
    this.previewing = true;
    const asked = ++this.asked;
    let answer: Preview;
    try {
      answer = await get<Preview>(query("preview", { alpha: this.slider.value, count: COUNT }));
    } catch (error) {
      if (this.isPast(asked)) return;
      this.showPreview([el("p", { class: "quiet", role: "status" }, (error as Error).message)]);
      this.events.previewed([]);
      return;
    }
    if (this.isPast(asked)) return;
    const list = el("ol", { class: "picks", "aria-label": `Next images with alpha ${answer.alpha}` });
    this.fill(list, answer.picks, this.images);
    const fresh = answer.picks.filter((pick) => !this.images.includes(pick.image)).length;
    const words =
      `With alpha ${number(answer.alpha)} instead of ${number(answer.configured)}, ${fresh} of ${answer.picks.length} ` +
      "next images would be different. The preview changes nothing.";
    this.showPreview([el("p", { class: "quiet", role: "status" }, words), list]);
    this.events.previewed(answer.picks.map((pick) => pick.image));
  }

  /** Whether the slider has moved on since this preview was asked for, or the preview was closed. */
  private isPast(asked: number): boolean {
    return asked !== this.asked || !this.previewing;
  }

  private showPreview(parts: Node[]): void {
    this.other.replaceChildren(...parts);
    this.other.hidden = this.back.hidden = this.apply.hidden = false;
    this.list.hidden = this.about.hidden = true;
  }

  private stop(): void {
    this.previewing = false;
    this.asked++;
    this.other.hidden = this.back.hidden = this.apply.hidden = true;
    this.list.hidden = this.about.hidden = false;
    this.value.textContent = "as configured";
    this.events.previewed([]);
  }

  private fill(list: HTMLElement, picks: Pick[], before: string[]): void {
    const rows = picks.map((pick, at) => {
      const words = el("span", { class: "name" }, pick.image, el("small", {}, reasonOf(pick)));
      if (before.length && !before.includes(pick.image)) words.append(el("small", { class: "also" }, "not in the plan"));
      const button = el("button", { type: "button", "data-image": pick.image });
      button.append(el("span", { class: "rank" }, String(at + 1)), thumbnail(pick.image), words);
      button.addEventListener("click", () => this.events.opened(pick.image));
      return el("li", {}, button);
    });
    list.replaceChildren(...rows);
  }
}
