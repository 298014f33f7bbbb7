// Versions as a graph: newest on top, each joined to the one that it was trained from.

import { h, svg } from "./dom.js";
import { badge } from "./parts.js";
import { versionOf } from "./words.js";
import { when } from "./format.js";

const ROW = 76;
const LANE = 26;

const ASIDE = ["rejected", "quarantined", "held", "reserved"];

/** Lane of each version: an accepted child goes on in its parent's lane, a sibling opens another; what was refused and
    led nowhere stands aside in the second lane. */
export function lanesOf(versions) {
  const lanes = new Map();
  const parents = new Set(versions.map((each) => each.parent));
  const continued = new Set();
  let widest = versions.some((each) => isAside(each, parents)) ? 1 : 0;
  for (const each of versions.toSorted((a, b) => a.version - b.version)) {
    const { version, parent } = each;
    const goesOn = lanes.has(parent) && !continued.has(parent) && !isAside(each, parents);
    if (goesOn) continued.add(parent);
    const lane = goesOn ? lanes.get(parent) : isAside(each, parents) ? 1 : lanes.size ? ++widest : 0;
    lanes.set(version, lane);
  }
  return lanes;
}

const isAside = ({ version, state }, parents) => ASIDE.includes(state) && !parents.has(version);

/** The graph with a row for each version; onCompare(version, ticked). */
export function lineage(versions, { chosen, compared, onCompare, hrefOf }) {
  const ordered = versions.toSorted((a, b) => b.version - a.version);
  const lanes = lanesOf(versions);
  const width = (Math.max(...lanes.values()) + 1) * LANE + 12;
  const place = new Map(ordered.map(({ version }, i) => [version, { x: 16 + lanes.get(version) * LANE, y: ROW * i + ROW / 2 }]));
  return h("div", { class: "lineage" },
    graph(ordered, place, width),
    h("ol", { class: "lineage-rows", style: { "margin-left": `${width}px` } }, ordered.map((each) => row(each, { chosen, compared, onCompare, hrefOf }))));
}

function graph(ordered, place, width) {
  const height = ROW * ordered.length;
  const edges = ordered.filter(({ parent }) => place.has(parent)).map(({ version, parent }) => edge(place.get(parent), place.get(version)));
  const nodes = ordered.map((each) => node(each, place.get(each.version)));
  return svg("svg", { class: "lineage-graph", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, edges, nodes);
}

const edge = (from, to) => svg("path", { class: "edge", d: `M${from.x} ${from.y} C${from.x} ${from.y - ROW / 2} ${to.x} ${to.y + ROW / 2} ${to.x} ${to.y}` });

function node({ aliases, state }, { x, y }) {
  const tone = aliases.includes("champion") ? "champion" : versionOf(state)[0];
  return svg("circle", { class: `node ${tone}`, cx: x, cy: y, r: aliases.includes("champion") ? 8 : 6 });
}

function row(each, { chosen, compared, onCompare, hrefOf }) {
  const { version, aliases, state, created_at: at, reason } = each;
  const tick = h("input", { type: "checkbox", id: `compare-${version}`, "aria-label": `Compare version ${version}`, onchange: (event) => onCompare(version, event.target.checked) });
  tick.checked = compared.includes(version);
  return h("li", { class: version === chosen ? "lineage-row chosen" : "lineage-row" },
    h("a", { class: "lineage-link", href: hrefOf(version), id: `version-${version}` },
      h("span", { class: "lineage-head" }, h("strong", {}, `Version ${version}`), aliases.map((alias) => h("span", { class: `tag ${alias}` }, alias)), badge(...versionOf(state))),
      h("span", { class: "lineage-why" }, when(at), reason ? ` · ${reason}` : "")),
    h("label", { class: "compare-tick" }, tick));
}
