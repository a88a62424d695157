// Asking the server: every request carries the token, every refusal becomes a sentence.

const KEY = "cpm-port token";

if (location.hash.startsWith("#token=")) {
  sessionStorage.setItem(KEY, decodeURIComponent(location.hash.slice(7)));
  history.replaceState(null, "", location.pathname);
}

export function useToken(text) {
  sessionStorage.setItem(KEY, text.trim());
}

export class Refusal extends Error {
  constructor(status, error, todo) {
    super([error, todo].filter(Boolean).join(" "));
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer.", "Look whether `cpm-port serve` still runs, and try again.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refusal(response.status, told.error ?? `The server answered ${response.status}.`, told.todo);
}

export const askJson = async (path, options) => (await ask(path, options)).json();

// Look for people; `tell` is called with every line of progress. Resolves to the result.
export async function look(wish, signal, tell) {
  const response = await ask("/api/look", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(wish),
    signal,
  });
  for await (const line of lines(response.body)) {
    if (line.state === "done") return line.result;
    if (line.error) throw new Refusal(200, line.error);
    tell(line);
  }
  throw new Refusal(200, "The server ended before the work was done.", "Start `cpm-port serve` again.");
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) if (line) yield JSON.parse(line);
  }
}
