// Labelling by keyboard: one key a class, S skips, U takes the last one back. The next text is there before the answer
// of the service is; a refusal puts the text back and says why. What the model answered is not shown: it would sway.

import { get, path, send } from "../api.js";
import { h, replace, toast } from "../dom.js";
import { count, percent } from "../format.js";
import { button, card, empty, linkButton, notice, pageHead, progress } from "../parts.js";

const BATCH = 20;
const FEW = 5;
const KEYS = [..."123456789abcdefghijklmnopqrtvwxyz"];
const SHOWN = 8;

const state = fresh();
let place = null;
let lookAgain = null;

function fresh() {
  return { model: null, queue: [], done: [], standing: null, saved: 0, counted: 0, saving: Promise.resolve(), loading: null, over: false };
}

export const labels = {
  name: "labels",
  title: "Labels",
  role: "feedback",
  // While there is something to answer or to take back, nothing else draws the page.
  keeps: () => state.queue.length + state.done.length > 0,
  leave: () => { removeEventListener("keydown", onKey); place = null; },

  async load({ model }) {
    if (state.model !== model || !state.queue.length) Object.assign(state, fresh(), { model });
    await fill();
    return { at: Date.now() };
  },

  view(_, { refresh }) {
    lookAgain = refresh;
    removeEventListener("keydown", onKey);
    addEventListener("keydown", onKey);
    place = h("div", { id: "labelling" });
    draw();
    return [pageHead("Labels", "A few labels tell whether a drift hurts, and let the service adapt."), place];
  },
};

/** Fetches more when few are left; those that come are leased to this key for ten minutes. */
async function fill() {
  if (state.loading || state.over || state.queue.length > FEW) return state.loading;
  state.loading = get("/v1/label-requests", { model: state.model, limit: BATCH });
  try {
    const { requests, ...standing } = await state.loading;
    const known = new Set([...state.queue, ...state.done].map((each) => each.id));
    state.queue.push(...requests.filter((each) => !known.has(each.id)));
    Object.assign(state, { standing, counted: state.saved });
    state.over = requests.length < BATCH;
  } finally {
    state.loading = null;
  }
  return undefined;
}

function draw() {
  if (!place) return;
  const request = state.queue[0];
  replace(place, [request ? asking(request) : nothingLeft(), h("div", { class: "columns" }, standingCard(), doneCard())]);
}

function asking(request) {
  const keys = keysOf(request);
  return h("section", { class: "labelling", "aria-label": "Text to label" },
    h("div", { class: "labelling-head" }, h("span", { class: "note" }, request.domain ? `${request.model} · ${request.domain}` : request.model), h("span", { class: "note" }, reasonOf(request.reason))),
    h("blockquote", { class: "subject", id: "subject", "aria-live": "polite" }, request.text),
    h("div", { class: "classes", role: "group", "aria-label": "Classes" }, request.labels.map((label, i) => classButton(label, keys[i]))),
    h("div", { class: "actions" }, button(["Skip", hint("S")], () => settle({ skip: true }), { id: "skip" }),
      button(["Undo", hint("U")], () => undo(), { id: "undo", disabled: state.done.length === 0 })));
}

const keysOf = (request) => request.labels.map((_, i) => KEYS[i]);
const hint = (key) => h("kbd", {}, key);

const classButton = (label, key) =>
  h("button", { type: "button", class: "class", id: `class-${key}`, onclick: () => settle({ label }) }, h("kbd", {}, key.toUpperCase()), h("span", {}, label));

function reasonOf(reason) {
  const why = {
    random: "drawn at random",
    gate: "drawn at random, to judge by",
    disagreement: "two versions disagree",
    uncertain: "the model is unsure, and there are many like it",
    confident: "the model is sure; is it right?",
    rare: "few labels of its class",
  };
  return why[reason] ?? reason;
}

function nothingLeft() {
  const done = state.done.length;
  if (done) return empty("That was the last one. Thank you.", "What you said is on its way into the adaptation.", linkButton("See the adaptation", "#/adaptations", "primary"), button(["Undo the last", hint("U")], () => undo(), { id: "undo" }));
  return empty("Nothing to label now", "The service asks when an adaptation needs labels. Labels that you have anyway can be sent at any time: POST /v1/feedback, or trimtab labels import.", button("Look again", () => lookAgain(), { kind: "primary", id: "look-again" }));
}

function standingCard() {
  const { open = 0, answered = 0, wanted = 0, estimate = null } = state.standing ?? {};
  const given = answered + labelled() - state.counted;
  const all = Math.max(wanted, given);
  return card("How far it is", [
    progress(all ? given / all : 0, "Labels given"),
    h("p", {}, `${count(given)} of ${count(all)} labels given. ${count(Math.max(state.queue.length, open))} texts wait.`),
    estimate ? notice("info", h("span", {}, `Accuracy on this traffic: ${percent(estimate.accuracy)} (${percent(estimate.low)} to ${percent(estimate.high)}, by ${count(estimate.n)} random texts).`)) : h("p", { class: "note" }, "After some random texts the accuracy on this traffic stands here, with its interval."),
  ]);
}

/** Labels given here since the page was opened. */
const labelled = () => state.done.filter((each) => each.said !== null).length;

function doneCard() {
  if (!state.done.length) return card("Last answers", h("p", { class: "note" }, "What you answer stands here, and can be taken back."));
  const items = state.done.slice(0, SHOWN).map((each) => h("li", { class: "text" }, each.text, h("span", { class: "text-foot" }, each.said ?? "skipped")));
  return card("Last answers", h("ul", { class: "texts" }, items));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector("dialog")) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const pressed = event.key.toLowerCase();
  const request = state.queue[0];
  if (pressed === "u") undo();
  else if (pressed === "s" && request) settle({ skip: true });
  else if (request) {
    const label = request.labels[keysOf(request).indexOf(pressed)];
    if (label === undefined) return;
    settle({ label });
  } else return;
  event.preventDefault();
}

/** Says it of the present text and goes on at once. */
function settle(said) {
  const request = state.queue.shift();
  if (!request) return;
  state.done.unshift({ ...request, said: said.label ?? null });
  // One after the other, so that what the service counts is what was saved so far.
  state.saving = state.saving.then(() => save(request, said)).then(fill).then(draw, (problem) => toast(problem.message, "bad"));
  draw();
}

async function save(request, said) {
  try {
    await send("POST", path`/v1/label-requests/${request.id}`, said);
    if (said.label !== undefined) state.saved += 1;
  } catch (problem) {
    state.done = state.done.filter((each) => each.id !== request.id);
    if (problem.status !== 404 && problem.status !== 409) state.queue.unshift(request);
    toast(problem.message, "bad");
  }
}

/** The last answer is taken back, and its text is asked again. */
function undo() {
  const last = state.done.shift();
  if (!last) return;
  const { said, ...request } = last;
  state.queue.unshift(request);
  state.saving = state.saving.then(() => takeBack(request, said));
  draw();
}

async function takeBack(request, said) {
  try {
    await send("POST", path`/v1/label-requests/${request.id}`, { undo: true });
    if (said !== null) state.saved -= 1;
  } catch (problem) {
    state.queue = state.queue.filter((each) => each.id !== request.id);
    state.done.unshift({ ...request, said });
    toast(problem.message, "bad");
    draw();
  }
}
