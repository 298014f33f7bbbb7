// What happened, newest first, each in a sentence with what lies behind it.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, moment, when } from "../format.js";
import { button, empty, linkButton, pageHead, raw } from "../parts.js";
import { eventOf, toneOf } from "../words.js";

const PAGE = 60;

export const events = {
  name: "events",
  title: "Events",
  role: "operate",

  async load({ model, params }) {
    const query = { order: "newest", limit: PAGE, before: params.get("before"), model: params.get("all") ? null : model };
    return get("/admin/v1/events", query);
  },

  view({ events: found }, context) {
    const all = Boolean(context.params.get("all"));
    const switcher = linkButton(all ? "This model only" : "All models", all ? "#/events" : "#/events?all=1");
    const head = pageHead("Events", "Everything that changed, who did it and why, newest first.", [switcher]);
    if (!found.length) return [head, empty("Nothing happened yet", "Promotions, jobs, drift and everything an operator does will stand here.")];
    return [head, h("ol", { class: "timeline" }, found.map(entry)), pager(found, context)];
  },
};

function entry(event) {
  const { seq, at, kind, model, actor, detail } = event;
  const why = detail.reason ? h("p", { class: "event-why" }, detail.reason) : null;
  return h("li", { class: `event ${toneOf(event)}` },
    h("div", { class: "event-head" }, h("strong", {}, eventOf(event)), h("span", { class: "event-when" }, when(at))),
    why,
    h("div", { class: "event-foot" }, model && h("span", {}, model), h("span", {}, `by ${actor}`), h("span", {}, moment(at)), links(kind, detail)),
    Object.keys(detail).length ? raw(`event-${seq}`, `${kind} #${seq}`, detail) : null);
}

function links(kind, detail) {
  if (detail.job) return h("a", { href: `#/adaptations?job=${encodeURIComponent(detail.job)}` }, "the job");
  if (Number.isInteger(detail.version)) return h("a", { href: `#/versions?version=${detail.version}` }, `version ${detail.version}`);
  return null;
}

function pager(found, { params, go }) {
  const all = params.get("all") ? { all: "1" } : {};
  const newest = params.get("before") ? button("Newest", () => go("events", all)) : null;
  const more = found.length === PAGE ? button("Older", () => go("events", { ...all, before: found.at(-1).seq })) : null;
  return h("div", { class: "pager" }, newest, more, h("span", { class: "note" }, `${count(found.length)} shown`));
}
