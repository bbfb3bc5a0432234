// Requests to the server: JSON and pictures with the user's token, and sign-in when it is required.

const TOKEN = "selection-token";
let signingIn: Promise<void> | null = null;

/** An error answer of the server, with its message. */
export class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** Send a request; `path` is relative to /selection/. Signs in and retries on 401. Throws Refused. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  // the server marks the page when authentication is on
  if ("signIn" in document.body.dataset && !sessionStorage.getItem(TOKEN)) await signIn("");
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = new Headers(init.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    let answer: Response;
    try {
      answer = await fetch(path, { ...init, headers });
    } catch {
      throw new Refused(0, "The server does not answer. Is it running?");
    }
    if (answer.status === 401) {
      const reason = await detail(answer);
      if (token === sessionStorage.getItem(TOKEN)) await signIn(token ? reason : "");
      continue;
    }
    if (!answer.ok && answer.status !== 304) throw new Refused(answer.status, await detail(answer));
    return answer;
  }
}

export async function get<T>(path: string): Promise<T> {
  return (await (await ask(path)).json()) as T;
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  return (await (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json()) as T;
}

/** A picture's object URL, and how many slices its volume has; 0 for an image without. */
export interface Picture {
  url: string;
  slices: number;
}

const pictures = new Map<string, Promise<Picture>>();

/** Return a picture; the last 400 are cached. */
export function picture(path: string): Promise<Picture> {
  let found = pictures.get(path);
  if (!found) {
    found = ask(path).then(async (answer) => ({
      url: URL.createObjectURL(await answer.blob()),
      slices: Number(answer.headers.get("X-Slices") ?? 0),
    }));
    found.catch(() => pictures.delete(path));
    pictures.set(path, found);
    if (pictures.size > 400) forget(pictures.keys().next().value as string);
  }
  return found;
}

/** Drop a picture from the cache. */
export function forget(path: string): void {
  pictures.get(path)?.then(({ url }) => URL.revokeObjectURL(url), () => {});
  pictures.delete(path);
}

export function query(path: string, values: Record<string, string | number>): string {
  return `${path}?${Object.entries(values).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
}

/** Encode an image's id for a path; slashes stay. */
export function pathOf(image: string): string {
  return image.split("/").map(encodeURIComponent).join("/");
}

async function detail(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    const reason = JSON.parse(text).detail;
    return typeof reason === "string" ? reason : JSON.stringify(reason);
  } catch {
    return text || `The server answered ${answer.status}.`;
  }
}

/** Show one dialog, however many requests wait for it. */
function signIn(reason: string): Promise<void> {
  signingIn ??= dialog(reason).finally(() => (signingIn = null));
  return signingIn;
}

function dialog(reason: string): Promise<void> {
  const box = document.createElement("dialog");
  box.setAttribute("aria-labelledby", "sign-in-title");
  box.innerHTML = `<form method="dialog"><h2 id="sign-in-title">Sign in</h2>
    <label class="field">Name <input name="username" type="text" autocomplete="username" required></label>
    <label class="field">Password <input name="password" type="password" autocomplete="current-password" required></label>
    <p class="wrong" role="alert"></p><button>Sign in</button></form>`;
  const form = box.querySelector("form") as HTMLFormElement;
  const wrong = box.querySelector(".wrong") as HTMLElement;
  wrong.textContent = reason;
  document.body.append(box);
  box.addEventListener("cancel", (event) => event.preventDefault());
  box.showModal();
  return new Promise((done) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const fields = new FormData(form);
      const body = new URLSearchParams({
        username: String(fields.get("username")),
        password: String(fields.get("password")),
      });
      try {
        const answer = await fetch("../auth/token", { method: "POST", body });
        if (!answer.ok) throw new Error(await detail(answer));
        sessionStorage.setItem(TOKEN, (await answer.json()).access_token);
        box.close();
        box.remove();
        done();
      } catch (error) {
        wrong.textContent = (error as Error).message;
      }
    });
  });
}
