// Charts over time by uPlot, in the colours of the theme; and small bars that need no library.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { h } from "./dom.js";

const HEIGHT = 220;
const PALETTE = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5"];
const drawn = new Set();

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const lineColor = (i) => token(PALETTE[i % PALETTE.length]);

/** Lines over time with a limit. data: [times, ...values]; names: one a line; marks: [{at, text}] vertical lines. */
export function lines({ title, data, names, limit = null, limitName = "", marks = [], format }) {
  const stroked = names.map((name, i) => series(name, lineColor(i), format, { width: 2, points: { show: false } }));
  const plotted = limit === null ? data : [...data, data[0].map(() => limit)];
  if (limit !== null) stroked.push(series(limitName, token("--bad"), format, { dash: [6, 5], width: 1.5, points: { show: false } }));
  const top = Math.max(...data.slice(1).flat().filter(Number.isFinite), limit ?? 0) * 1.15;
  return frame(title, plotted, stroked, { range: [0, top || 1], marks, format });
}

/** Stacked bars over time. data: [times, ...values], stacked from the first up; names: one a part. */
export function stackedBars({ title, data, names, format }) {
  const sums = stacked(data.slice(1));
  const parts = names.map((name, i) => ({
    ...series(name, lineColor(i), (_, at) => format(data[i + 1][at]), { width: 0, fill: lineColor(i), points: { show: false } }),
    value: (_, __, ___, at) => (at === null || at === undefined ? "–" : format(data[i + 1][at] ?? 0)),
    paths: uPlot.paths.bars({ size: [0.82, 28], radius: 0.15 }),
  }));
  const top = Math.max(1, ...sums.at(-1)) * 1.15;
  const half = data[0].length > 1 ? (data[0][1] - data[0][0]) / 2 : 0;
  return frame(title, [data[0], ...sums.toReversed()], parts.toReversed(), { range: [0, top], aside: half, marks: [], format });
}

function stacked(parts) {
  const sums = [];
  for (const part of parts) sums.push(part.map((n, i) => (n ?? 0) + (sums.at(-1)?.[i] ?? 0)));
  return sums;
}

const series = (label, stroke, format, more) =>
  ({ label, stroke, value: (_, value) => (value === null || value === undefined ? "–" : format(value)), ...more });

/** aside: seconds before the first and after the last time, so that no bar is cut. */
function frame(title, data, parts, { range, aside = 0, marks, format }) {
  const place = h("div", { class: "chart", role: "img", "aria-label": title });
  const plot = new uPlot(options(parts, { range, aside, marks, format }, data[0]), data, place);
  plot.setLegend({ idx: data[0].length - 1 });
  drawn.add({ place, plot });
  watch(place, plot);
  return place;
}

function options(parts, { range, aside, marks, format }, times) {
  const clock = clockOf(times);
  const last = times.length - 1;
  const axis = { stroke: token("--muted"), font: `12px ${token("--font")}`, grid: { stroke: token("--hairline"), width: 1 }, ticks: { show: false } };
  return {
    width: 600, height: HEIGHT, padding: [12, 8, 0, 0],
    scales: { x: { range: (_, from, to) => [from - aside, to + aside] }, y: { range } },
    axes: [{ ...axis, grid: { show: false }, space: 70, size: 32, values: (_, at) => at.map(clock) }, { ...axis, size: 52, values: (_, at) => at.map(format) }],
    series: [{ label: "At", value: (_, at) => (at === null ? "–" : clock(at)) }, ...parts],
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    hooks: {
      draw: [(plot) => drawMarks(plot, marks)],
      // The legend speaks of the newest point while the pointer is elsewhere.
      setLegend: [(plot) => { if (plot.legend.idx === null) plot.setLegend({ idx: last }); }],
    },
  };
}

/** How times of this span are said. */
function clockOf(times) {
  const span = times.at(-1) - times[0];
  const given = { hour: "2-digit", minute: "2-digit" };
  if (span < 600) given.second = "2-digit";
  if (span > 86400) Object.assign(given, { day: "numeric", month: "short" });
  const format = new Intl.DateTimeFormat(undefined, { ...given, hourCycle: "h23" });
  return (at) => format.format(new Date(1000 * at));
}

function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = token("--muted");
  ctx.font = `${11 * devicePixelRatio}px ${token("--font")}`;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const { at, text } of marks) drawMark(ctx, bbox, plot.valToPos(at, "x", true), text);
  ctx.restore();
}

function drawMark(ctx, bbox, x, text) {
  if (x < bbox.left || x > bbox.left + bbox.width) return;
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.fillText(text, x + 4 * devicePixelRatio, bbox.top + 10 * devicePixelRatio);
}

function watch(place, plot) {
  const resized = new ResizeObserver(([{ contentRect }]) => {
    if (!place.isConnected) return resized.disconnect();
    if (contentRect.width > 0) plot.setSize({ width: Math.floor(contentRect.width), height: HEIGHT });
  });
  resized.observe(place);
}

/** Lets go of the charts that are on no page any more. */
export function forgetCharts() {
  for (const each of drawn) {
    if (each.place.isConnected) continue;
    each.plot.destroy();
    drawn.delete(each);
  }
}

/** Two histograms over the same bins, before and after, as pairs of bars. */
export function beforeAfter(before, after, title) {
  const top = Math.max(...before, ...after) || 1;
  const pair = (i) => h("div", { class: "pair" }, bar("before", before[i] / top), bar("after", after[i] / top));
  return h("div", { class: "histogram", role: "img", "aria-label": title }, before.map((_, i) => pair(i)));
}

const bar = (kind, share) => h("div", { class: `bar ${kind}`, style: { height: `${Math.max(share > 0 ? 2 : 0, 100 * share)}%` } });

/** A share from 0 to 1 as a horizontal bar. */
export const shareBar = (share, kind = "after") =>
  h("div", { class: "share" }, h("div", { class: `share-done ${kind}`, style: { width: `${100 * Math.min(1, Math.max(0, share))}%` } }));
