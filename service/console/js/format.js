// Numbers and times for people, in the reader's own locale.

import { h } from "./dom.js";

const AGO = [[86400, "d"], [3600, "h"], [60, "min"]];
const whole = new Intl.NumberFormat();

export const count = (n) => whole.format(n);
export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const short = (digest) => (digest ?? "").slice(0, 8);

/** A number with its noun: plural(1, "alarm"), plural(2, "alarm"). */
export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** A share as a percentage. */
export const percent = (share, digits = 0) => (isNumber(share) ? `${(100 * share).toFixed(digits)} %` : "–");

/** Three significant digits, small numbers by power of ten. */
export function figure(value) {
  if (!isNumber(value)) return "–";
  if (Number.isInteger(value)) return count(value);
  const size = Math.abs(value);
  return size !== 0 && size < 0.001 ? value.toExponential(1) : value.toFixed(size < 10 ? 3 : size < 100 ? 1 : 0);
}

/** Points of a percentage with their sign. */
export const points = (share) => (isNumber(share) ? `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)} points` : "–");

/** Seconds, as people say them. */
export function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** A sentence of the service with its long ids cut to what people compare. */
export const readable = (text) => (text ?? "").replace(/\b([0-9a-f]{8})[0-9a-f]{16,}\b/g, "$1");

/** Milliseconds with a sensible number of digits. */
export const milliseconds = (seconds) =>
  isNumber(seconds) ? `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms` : "–";

/** How long it is since epoch seconds. */
function lapse(at) {
  const seconds = Math.max(0, Date.now() / 1000 - at);
  const [size, unit] = AGO.find(([least]) => seconds >= least) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

const said = (at, form) => (form === "for" ? `for ${lapse(at)}` : `${lapse(at)} ago`);

/** Date and time of epoch seconds. */
export const moment = (at) => new Date(1000 * at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** An element that says how long ago (form "for": since when) and keeps saying it; the whole date on hovering. */
export function when(at, form = "ago") {
  if (!isNumber(at) || at <= 0) return h("span", {}, "–");
  const exact = new Date(1000 * at).toISOString();
  return h("time", { datetime: exact, title: moment(at), "data-at": at, "data-form": form }, said(at, form));
}

/** Says all `when` elements of the page anew. */
export function refreshTimes() {
  for (const each of document.querySelectorAll("time[data-at]")) each.textContent = said(Number(each.dataset.at), each.dataset.form);
}
