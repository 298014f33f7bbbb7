// The gate as a table: each check with its value, the bound that decides, and the limit, drawn to scale.

import { h } from "./dom.js";
import { count, figure, isNumber, percent } from "./format.js";
import { badge, empty, table } from "./parts.js";
import { checkOf, resultOf } from "./words.js";

const ORDER = ["fail", "insufficient_data", "pass"];

/** What the gate found; checks that failed first. */
export function gateTable(checks) {
  if (!checks?.length) return empty("The gate has not looked yet", "It looks once, when a candidate is made, on labels that nothing was trained or chosen on.");
  const ordered = checks.toSorted((a, b) => ORDER.indexOf(a.result) - ORDER.indexOf(b.result));
  const columns = ["Check", "Result", "Value against limit", ["Bound", "number"], ["Limit", "number"], ["n", "number"], ["Power", "number"]];
  return table("The gate's checks", columns, ordered.map(row));
}

function row(check) {
  const [tone, result] = resultOf(check.result);
  return [
    h("div", { class: "check" }, h("strong", {}, checkOf(check.name)), check.detail && h("div", { class: "note" }, check.detail)),
    badge(tone, result), scale(check), figure(check.bound), figure(check.limit),
    isNumber(check.n) ? count(check.n) : "–", isNumber(check.power) ? percent(check.power) : "–",
  ];
}

/** Value as a dot, its bound as a whisker, the limit as a line. */
function scale({ value, bound, limit, result }) {
  if (!isNumber(value)) return "–";
  const marks = [0, value, limit, isNumber(bound) ? bound : value];
  const [low, high] = [Math.min(...marks), Math.max(...marks)];
  const place = (x) => `${high > low ? 4 + (92 * (x - low)) / (high - low) : 50}%`;
  const [from, to] = isNumber(bound) ? [Math.min(value, bound), Math.max(value, bound)] : [value, value];
  const span = high > low ? (92 * (to - from)) / (high - low) : 0;
  return h("div", { class: "scale-cell" },
    h("div", { class: `scale ${resultOf(result)[0]}`, "aria-hidden": "true" },
      h("span", { class: "scale-span", style: { left: place(from), width: `${span}%` } }),
      h("span", { class: "scale-limit", style: { left: place(limit) } }),
      h("span", { class: "scale-dot", style: { left: place(value) } })),
    h("span", { class: "scale-value" }, figure(value)));
}
