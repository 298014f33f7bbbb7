// The stream of events, read with fetch: EventSource cannot send a key. It comes back where it stopped, for ever.

import { authorized } from "./api.js";

const PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15000;

/** Calls `onMessage({kind, data})` for each message, and `onState(connected)`. Returns a function that ends it. */
export function follow(onMessage, onState) {
  const ending = new AbortController();
  const place = { id: null };
  void keepFollowing(place, onMessage, onState, ending.signal);
  return () => ending.abort();
}

async function keepFollowing(place, onMessage, onState, signal) {
  let pause = PAUSE_MS;
  while (!signal.aborted) {
    const went = await followOnce(place, onMessage, onState, signal);
    if (signal.aborted) return;
    onState(went);
    pause = went ? PAUSE_MS : Math.min(2 * pause, LONGEST_PAUSE_MS);
    if (!went) await new Promise((resume) => setTimeout(resume, pause));
  }
}

/** One connection, until it ends; whether it was one. */
async function followOnce(place, onMessage, onState, signal) {
  try {
    const resumed = place.id === null ? {} : { "Last-Event-ID": place.id };
    const headers = authorized({ Accept: "text/event-stream", ...resumed });
    const response = await fetch("/admin/v1/events", { headers, signal, cache: "no-store" });
    if (!response.ok) return false;
    onState(true);
    await read(response.body, place, onMessage);
    return true;
  } catch {
    return false;
  }
}

async function read(body, place, onMessage) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) take(parse(block), place, onMessage);
  }
}

function take(message, place, onMessage) {
  if (message.id !== undefined) place.id = message.id;
  if (message.data !== undefined) onMessage({ kind: message.event, data: JSON.parse(message.data) });
}

/** The fields of one block; lines that begin with a colon are comments. */
export function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = value;
  }
  return fields;
}
