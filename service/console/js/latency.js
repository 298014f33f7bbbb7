// Quantiles of the answer time from the service's own histogram, over the last minute that this page has watched.

import { getText } from "./api.js";

const NAME = "trimtab_request_duration_seconds_bucket";
const ROUTES = new Set(["/v1/predict", "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer", "/models/{model}"]);
const LINE = /^(\w+)\{(.*)\} (\S+)/;
const KEEP_MS = 60000;
const seen = [];

/** {p50, p95, n, recent}: seconds of predictions; null without any. recent: of the last minute, else since the start. */
export async function latency() {
  const now = { at: Date.now(), buckets: bucketsIn(await getText("/metrics")) };
  const before = seen.find(({ at }) => now.at - at < KEEP_MS);
  seen.push(now);
  while (now.at - seen[0].at > 2 * KEEP_MS) seen.shift();
  const since = before ? difference(now.buckets, before.buckets) : null;
  return since && total(since) > 0 ? { ...quantiles(since), recent: true } : total(now.buckets) > 0 ? { ...quantiles(now.buckets), recent: false } : null;
}

/** Map of upper bound -> cumulative count, summed over the routes that predict. */
export function bucketsIn(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    const [, name, labels, value] = LINE.exec(line) ?? [];
    if (name !== NAME || !ROUTES.has(/route="([^"]*)"/.exec(labels)?.[1])) continue;
    const bound = Number(/le="([^"]*)"/.exec(labels)[1].replace("+Inf", "Infinity"));
    sums.set(bound, (sums.get(bound) ?? 0) + Number(value));
  }
  return new Map([...sums].sort(([a], [b]) => a - b));
}

/** null when a count went down: another process answered. */
function difference(now, before) {
  const left = new Map([...now].map(([bound, n]) => [bound, n - (before.get(bound) ?? 0)]));
  return [...left.values()].some((n) => n < 0) ? null : left;
}

const total = (buckets) => [...buckets.values()].at(-1) ?? 0;
const quantiles = (buckets) => ({ p50: quantile(buckets, 0.5), p95: quantile(buckets, 0.95), n: total(buckets) });

/** By straight lines within a bucket, as Prometheus' histogram_quantile. */
export function quantile(buckets, q) {
  const wanted = q * total(buckets);
  let [low, below] = [0, 0];
  for (const [bound, n] of buckets) {
    if (n >= wanted) return Number.isFinite(bound) && n > below ? low + ((bound - low) * (wanted - below)) / (n - below) : low;
    [low, below] = [bound, n];
  }
  return low;
}
