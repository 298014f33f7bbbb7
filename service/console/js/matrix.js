// Accuracy by version and domain, as the gates measured it; and what was forgotten on the way.

import { h } from "./dom.js";
import { figure, isNumber, percent, points } from "./format.js";
import { empty } from "./parts.js";

/** {domains, rows: [{version, cells: Map domain -> {accuracy, n}}]}, oldest version first. */
export function accuracyMatrix(versions) {
  const rows = new Map();
  // What a version's own gate measured goes before what a later gate, with other labels, measured of it.
  const put = (version, domain, accuracy, n, own) => {
    if (!isNumber(accuracy)) return;
    const cells = rows.get(version) ?? rows.set(version, new Map()).get(version);
    if (own || !cells.has(domain)) cells.set(domain, { accuracy, n });
  };
  for (const each of versions) for (const check of each.gate?.checks ?? []) placeCheck(check, each, put);
  const ordered = [...rows].toSorted(([a], [b]) => a - b).map(([version, cells]) => ({ version, cells }));
  return { domains: [...new Set(ordered.flatMap((row) => [...row.cells.keys()]))], rows: ordered };
}

/** A paired check speaks of two versions: the one it was held against, and its own. */
function placeCheck({ name, against, before, after, n }, { version }, put) {
  const [, domain] = /^(?:forgetting|gain):(.*)$/s.exec(name) ?? [];
  if (domain === undefined) return;
  const other = Number(/(\d+)$/.exec(against ?? "")?.[1]);
  if (Number.isInteger(other)) put(other, domain, before, n, false);
  put(version, domain, after, n, true);
}

/** The matrix as a heat map; the present version stands out. */
export function heatMap(versions, champion) {
  const { domains, rows } = accuracyMatrix(versions);
  if (!rows.length) return empty("No gate has measured anything yet", "Each adaptation adds a row: how every domain fares under the version that came of it.");
  const head = h("tr", {}, h("th", { scope: "col" }, "Version"), domains.map((domain) => h("th", { scope: "col", class: "number" }, domain)));
  const body = rows.map((row) => h("tr", { class: row.version === champion ? "present" : null },
    h("th", { scope: "row" }, `Version ${row.version}`, row.version === champion ? h("span", { class: "tag" }, "in use") : null),
    domains.map((domain) => cell(row.cells.get(domain)))));
  return h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Accuracy by version and domain" },
    h("table", { class: "heat" }, h("caption", { class: "unseen" }, "Accuracy by version and domain"), h("thead", {}, head), h("tbody", {}, body)));
}

function cell(measured) {
  if (!measured) return h("td", { class: "number heat-cell" }, "–");
  const strength = Math.round(100 * Math.min(1, Math.max(0, (measured.accuracy - 0.5) / 0.5)));
  return h("td", { class: "number heat-cell", style: { "--heat": `${strength}%` }, title: `of ${figure(measured.n)} gate examples` }, percent(measured.accuracy, 1));
}

/** The largest loss on a past domain that this version's gate found, with its bound, in words; null without one. */
export function forgettingOf(gate) {
  const losses = (gate?.checks ?? []).filter((check) => check.name.startsWith("forgetting:") && isNumber(check.value));
  if (!losses.length) return null;
  const worst = losses.reduce((a, b) => (b.value > a.value ? b : a));
  return `${worst.name.slice(11)}: ${points(-worst.value)}, at worst ${points(-worst.bound)} (limit ${points(-worst.limit)})`;
}
