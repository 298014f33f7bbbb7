// Calls of the REST interface. A refusal becomes a Problem with the service's own sentence.

import { key } from "./session.js";

/** What the service answered instead: RFC 9457. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.status = status;
    this.title = body.title || "That did not work";
  }
}

/** Headers that carry the key. */
export function authorized(more = {}) {
  return key() ? { Authorization: `Bearer ${key()}`, ...more } : more;
}

/** GET; `query` members that are null or undefined are left out. */
export async function get(path, query = {}) {
  return answered(await fetch(path + search(query), { headers: authorized({ Accept: "application/json" }) }));
}

/** GET of a text. */
export async function getText(path) {
  const response = await fetch(path, { headers: authorized() });
  if (!response.ok) throw new Problem(response.status, await problemIn(response));
  return response.text();
}

/** POST, PUT or DELETE; `generation` is the one that the decision was made on. */
export async function send(method, path, body, generation) {
  const headers = authorized({ Accept: "application/json", "Content-Type": "application/json" });
  if (generation !== undefined) headers["If-Match"] = `"${generation}"`;
  return answered(await fetch(path, { method, headers, body: body === undefined ? null : JSON.stringify(body) }));
}

/** A path whose parts are escaped: path`/v1/drift/${model}`. */
export function path(texts, ...values) {
  return texts.reduce((made, text, i) => made + encodeURIComponent(values[i - 1]) + text);
}

function search(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function answered(response) {
  if (!response.ok) throw new Problem(response.status, await problemIn(response));
  return response.json();
}

async function problemIn(response) {
  try {
    return await response.json();
  } catch {
    return {};
  }
}
