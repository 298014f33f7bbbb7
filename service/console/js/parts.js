// The parts that pages are made of.

import { h } from "./dom.js";
import { icon } from "./icons.js";

/** A titled box. `aside` stands right of the title. */
export function card(title, children, { aside = null, wide = false, note = null } = {}) {
  const head = h("header", { class: "card-head" }, h("h2", {}, title), aside);
  return h("section", { class: wide ? "card wide" : "card" }, head, note && h("p", { class: "note" }, note), children);
}

/** A word with a tone: good, warn, bad, info or plain. */
export const badge = (tone, text) => h("span", { class: `badge ${tone}` }, h("span", { class: "dot" }), text);

/** A number with its name. */
export function metric(name, value, detail = null) {
  return h("div", { class: "metric" },
    h("div", { class: "metric-name" }, name),
    h("div", { class: "metric-value" }, value),
    detail && h("div", { class: "metric-detail" }, detail));
}

/** What stands where nothing is yet: what that means and what to do next. */
export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, text), actions);
}

/** A remark with a tone. */
export const notice = (tone, ...children) => h("div", { class: `notice ${tone}`, role: "note" }, children);

/** Inline code. */
export const code = (text) => h("code", {}, text);

/** A button. kind: primary, quiet or danger. */
export function button(text, onclick, { kind = "quiet", glyph = null, ...given } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, onclick, ...given }, glyph && icon(glyph), text);
}

/** A link to a page of the console that looks like a button. */
export const linkButton = (text, href, kind = "quiet") => h("a", { class: `button ${kind}`, href }, text);

/** A table. columns: [title, class?]; rows: arrays of cells. On a phone each row becomes a block with its titles. */
export function table(caption, columns, rows) {
  const titles = columns.map((column) => [column].flat());
  const head = h("tr", {}, titles.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell, i) => tableCell(cell, titles[i]))));
  const caption_ = h("caption", { class: "unseen" }, caption);
  return h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {}, caption_, h("thead", {}, head), h("tbody", {}, body)));
}

const tableCell = (cell, [title, kind]) => h("td", { class: kind, "data-title": title }, cell ?? "–");

/** Names and values, one below the other. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** How far something is, from 0 to 1. */
export function progress(share, label) {
  const percent = Math.round(100 * Math.min(1, Math.max(0, share)));
  const given = { role: "progressbar", "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": label };
  return h("div", { class: "progress", ...given }, h("div", { class: "progress-done", style: { width: `${percent}%` } }));
}

/** Head of a page: title, a sentence, actions. */
export function pageHead(title, text, actions = []) {
  return h("div", { class: "page-head" },
    h("div", {}, h("h1", {}, title), text && h("p", { class: "lead" }, text)),
    actions.length ? h("div", { class: "actions" }, actions) : null);
}

/** What a reader without the role is told in place of buttons. */
export function needs(role, what) {
  return notice("plain", icon("lock"), h("span", {}, `${what} needs a key with the role `, code(role), "."));
}

/** A sentence or two that unfolds to the raw thing. */
export function raw(id, title, value) {
  return h("details", { id, class: "raw" }, h("summary", {}, title), h("pre", { tabindex: 0 }, JSON.stringify(value, null, 2)));
}
