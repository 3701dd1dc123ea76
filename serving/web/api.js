// What the page asks the endpoint. The session's cookie goes with each request; nothing is sent anywhere else.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function send(path, body, options = {}) {
  const request = body === undefined
    ? { ...options }
    : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), ...options };
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...request });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached. Is it running?");
  }
  if (!response.ok) throw new Refused(response.status, await reason(response));
  return response;
}

async function reason(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

export const json = async (path, body, options) => (await send(path, body, options)).json();

// The events of a streamed answer, each as an object.
export async function* events(path, body, signal) {
  const response = await send(path, body, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The connection was lost; what had come is kept.");
    }
    if (piece.done) throw new Refused(0, "The connection ended before the answer did; what had come is kept.");
    const parts = (rest + piece.value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data === "[DONE]") return;
      if (!data) continue;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(event.error.code, event.error.message);
      yield event;
    }
  }
}
