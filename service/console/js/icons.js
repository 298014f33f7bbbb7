// Line icons of 24 units, drawn in code: no image is fetched and the colour is the text's.

import { svg } from "./dom.js";

const PATHS = {
  overview: ["M3 13a9 9 0 0 1 18 0", "M12 13l4-4", "M3 17h18"],
  drift: ["M3 8c3-4 6-4 9 0s6 4 9 0", "M3 16c3-4 6-4 9 0s6 4 9 0"],
  adaptations: ["M4 7h10", "M18 7h2", "M16 5v4", "M4 17h4", "M12 17h8", "M10 15v4"],
  versions: ["M6 8v8", "M18 10c0 4-6 3-11 6", "M6 4.5a1.5 1.5 0 1 0 .01 0", "M6 17a1.5 1.5 0 1 0 .01 0", "M18 6a1.5 1.5 0 1 0 .01 0"],
  labels: ["M4 4h8l8 8-8 8-8-8z", "M8.5 8.5h.01"],
  events: ["M8 6h12", "M8 12h12", "M8 18h12", "M4 6h.01", "M4 12h.01", "M4 18h.01"],
  sun: ["M12 8a4 4 0 1 0 .01 0", "M12 2v2", "M12 20v2", "M2 12h2", "M20 12h2", "M5 5l1.4 1.4", "M17.6 17.6L19 19", "M5 19l1.4-1.4", "M17.6 6.4L19 5"],
  moon: ["M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z"],
  out: ["M10 4H5v16h5", "M14 8l4 4-4 4", "M18 12H9"],
  lock: ["M6 11h12v9H6z", "M8.5 11V8a3.5 3.5 0 0 1 7 0v3"],
  check: ["M5 13l4 4L19 7"],
  cross: ["M6 6l12 12", "M18 6L6 18"],
  pause: ["M9 6v12", "M15 6v12"],
  back: ["M9 7l-5 5 5 5", "M4 12h10a6 6 0 0 1 6 6"],
  up: ["M12 19V5", "M6 11l6-6 6 6"],
  question: ["M9 9a3 3 0 1 1 4 2.8c-.8.4-1 1-1 2.2", "M12 17.5h.01"],
};

/** An icon; it says nothing to screen readers, the text beside it does. */
export function icon(name) {
  const given = { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" };
  return svg("svg", given, (PATHS[name] ?? []).map((d) => svg("path", { d })));
}

/** The mark: a rudder with its trim tab. */
export function mark() {
  const given = { viewBox: "0 0 32 32", class: "mark", "aria-hidden": "true", focusable: "false" };
  return svg("svg", given,
    svg("rect", { width: 32, height: 32, rx: 8, class: "mark-ground" }),
    svg("path", { d: "M9 7h9a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H9z", class: "mark-rudder" }),
    svg("path", { d: "M20 18l5-2.5v8L20 21z", class: "mark-tab" }));
}
