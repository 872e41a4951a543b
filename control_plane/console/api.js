// The API: requests with the token, and event streams that come back by themselves.

const BACK_OFF_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];
const SILENCE_MS = 20_000; // the server says something every 5 s

/** The server answered with a problem; `status` is its HTTP status. */
export class ProblemError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.status = status;
  }
}

export class Api {
  #token;

  constructor(token) {
    this.#token = token;
  }

  /** Return the JSON at `path`. Throws ProblemError, TypeError without a connection. */
  async get(path, signal) {
    const response = await this.open(path, signal);
    return response.json();
  }

  /** Return the response at `path`. Throws as get does. */
  async open(path, signal) {
    const response = await fetch(path, {
      headers: { Authorization: `Bearer ${this.#token}` },
      cache: "no-store",
      signal,
    });
    if (response.ok) return response;
    throw new ProblemError(response.status, await response.json().catch(() => ({})));
  }
}

/** Yield the events {name, data} of a stream of text chunks; {name: ""} for a comment. */
export async function* readEvents(chunks) {
  let rest = "";
  let name = "message";
  let data = [];
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) yield { name, data: data.join("\n") };
        [name, data] = ["message", []];
      } else if (line.startsWith(":")) {
        yield { name: "", data: line.slice(1) };
      } else {
        const [field, value] = split(line);
        if (field === "event") name = value;
        if (field === "data") data.push(value);
      }
    }
  }
}

function split(line) {
  const at = line.indexOf(":");
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1).replace(/^ /, "")];
}

async function* textOf(body, onBytes) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * An event stream that is opened again whenever it ends.
 *
 * `onEvent(name, data)` gets each event; `onState(state, detail)` gets "connecting", "live",
 * "waiting" (detail: seconds until the next try) and "refused" (detail: the ProblemError, after
 * which nothing more comes).
 */
export class Feed {
  #api;
  #path;
  #on;
  #stopped = new AbortController();
  #failures = 0;

  constructor(api, path, on) {
    this.#api = api;
    this.#path = path;
    this.#on = on;
    this.#run();
  }

  stop() {
    this.#stopped.abort();
  }

  async #run() {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      this.#on.state("connecting");
      try {
        await this.#follow();
      } catch (error) {
        if (error instanceof ProblemError && [401, 404].includes(error.status) && !signal.aborted) {
          this.#on.state("refused", error);
          return;
        }
      }
      if (!signal.aborted) await this.#wait();
    }
  }

  async #follow() {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    this.#stopped.signal.addEventListener("abort", abort);
    let silence;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(abort, SILENCE_MS);
    };
    try {
      listen();
      const response = await this.#api.open(this.#path, attempt.signal);
      this.#failures = 0;
      this.#on.state("live");
      for await (const { name, data } of readEvents(textOf(response.body, listen))) {
        if (name) this.#on.event(name, JSON.parse(data));
      }
    } finally {
      clearTimeout(silence);
      attempt.abort();
      this.#stopped.signal.removeEventListener("abort", abort);
    }
  }

  async #wait() {
    const pause = BACK_OFF_MS[Math.min(this.#failures, BACK_OFF_MS.length - 1)];
    this.#failures += 1;
    const until = Date.now() + pause * (0.8 + 0.4 * Math.random());
    while (!this.#stopped.signal.aborted) {
      const left = until - Date.now();
      if (left <= 0) return;
      this.#on.state("waiting", Math.ceil(left / 1000));
      await new Promise((resolve) => setTimeout(resolve, Math.min(left, 1000)));
    }
  }
}

/** Say a feed's state in a few words; "" while it is live. */
export function sayState(state, detail) {
  if (state === "connecting") return "connecting …";
  if (state === "waiting") return `no connection, next try in ${detail} s`;
  return state === "refused" ? detail.message : "";
}
