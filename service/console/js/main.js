// The console: sign in, choose a page by the address, draw it, and draw it anew when something changed.

import { get, Problem } from "./api.js";
import { forgetCharts } from "./charts.js";
import { h, replace } from "./dom.js";
import { refreshTimes } from "./format.js";
import { follow } from "./live.js";
import { adaptations } from "./pages/adaptations.js";
import { drift } from "./pages/drift.js";
import { events } from "./pages/events.js";
import { labels } from "./pages/labels.js";
import { overview } from "./pages/overview.js";
import { signInPage } from "./pages/signin.js";
import { versions } from "./pages/versions.js";
import { button, needs, notice, pageHead } from "./parts.js";
import { key, may, signedIn, signIn, signOut } from "./session.js";
import { buildShell } from "./shell.js";
import { followTheme } from "./theme.js";

const PAGES = [overview, drift, adaptations, versions, labels, events];
const MODEL = "trimtab.model";
const SETTLE_MS = 150;
const POLL_MS = 5000;
const LOOK_AGAIN_MS = 1000;

const root = document.getElementById("app");
const state = { shell: null, page: null, model: null, models: [], shown: null, visit: 0, endStream: null };

let settling = null;
let lookingAgain = null;

/** What a page is given. */
function context() {
  const [, query = ""] = location.hash.split("?");
  return { model: state.model, models: state.models, params: new URLSearchParams(query), refresh: () => show(false), go };
}

/** Another page or other parameters: go("drift", {report: "…"}). */
function go(name, params = {}) {
  const query = new URLSearchParams(params).toString();
  location.hash = `#/${name}${query ? `?${query}` : ""}`;
}

function pageOfAddress() {
  const name = location.hash.replace(/^#\//, "").split("?")[0];
  return PAGES.find((page) => page.name === name) ?? PAGES.find((page) => may(page.role)) ?? PAGES[0];
}

/** Loads and draws the page; `anew`: it was navigated to, so it is drawn whatever was there. */
async function show(anew = true) {
  const visit = ++state.visit;
  const page = pageOfAddress();
  if (anew) state.shown = null;
  if (state.page !== page) state.page?.leave?.();
  state.page = page;
  state.shell.setPage(page.name);
  document.title = `${page.title} · Trimtab`;
  const drawn = await drawing(page);
  if (visit !== state.visit || !state.shell || (drawn.seen !== undefined && drawn.seen === state.shown)) return;
  state.shown = drawn.seen ?? null;
  replace(state.shell.main, drawn.view());
  forgetCharts();
  if (anew) window.scrollTo(0, 0);
}

/** What to draw: a page, or why it cannot be. `seen`: its data as text, to tell whether anything changed. */
async function drawing(page) {
  if (!may(page.role)) return { view: () => [pageHead(page.title, ""), needs(page.role, "This page")] };
  if (page.name !== "labels" && page.name !== "events" && !state.model) return noModel();
  const now = context();
  try {
    const data = await page.load(now);
    return { seen: JSON.stringify(data), view: () => page.view(data, now) };
  } catch (error) {
    if (error instanceof Problem && error.status === 401) leave();
    return { view: () => failure(page, error) };
  }
}

function failure(page, error) {
  const what = error instanceof Problem ? error.message : "The service does not answer. It is tried again as soon as it does.";
  return [pageHead(page.title, ""), notice("bad", h("span", {}, what), button("Try again", () => show()))];
}

async function noModel() {
  const waiting = await waitingModels();
  return { seen: JSON.stringify(waiting), view: () => (waiting.length ? notServed(waiting) : noneMade()) };
}

function noneMade() {
  const text = "A model is made from labelled text. Once this replica has loaded one, the page fills by itself.";
  return [pageHead("No model yet", text), notice("plain", h("span", {}, "On the machine of the service: "),
    h("code", {}, "trimtab init NAME --base DIR --data FILE"), h("span", {}, ", or the whole story on real text: "), h("code", {}, "trimtab demo"))];
}

function notServed(waiting) {
  const said = waiting.map(([model, why]) => h("p", {}, h("strong", {}, `${model}: `), why));
  return [pageHead("No model is served yet", "The page fills by itself as soon as one is."), notice("warn", h("div", {}, said))];
}

/** Models that are there and that no replica serves, each with what its replica says: [[name, why]]. */
async function waitingModels() {
  if (!may("operate")) return [];
  try {
    const { replicas } = await get("/admin/v1/replicas");
    return Object.entries(Object.assign({}, ...replicas.map((each) => each.refused))).map(([model, why]) => [model, why[""] ?? JSON.stringify(why)]);
  } catch {
    return [];
  }
}

async function loadModels() {
  if (!may("read")) return;
  const { models } = await get("/v1/models");
  state.models = models;
  const names = models.map((model) => model.name);
  const kept = localStorage.getItem(MODEL);
  state.model = names.includes(state.model) ? state.model : names.includes(kept) ? kept : names[0] ?? null;
  state.shell.setModels(names, state.model);
  clearTimeout(lookingAgain);
  if (!state.model) lookingAgain = setTimeout(changed, LOOK_AGAIN_MS);
}

function changed() {
  clearTimeout(settling);
  settling = setTimeout(update, SETTLE_MS);
}

async function update() {
  if (!state.shell) return;
  try {
    await loadModels();
  } catch {
    // The page says so itself.
  }
  if (state.shell && !state.page?.keeps?.()) await show(false);
}

function goLive() {
  if (may("operate")) {
    const onState = (on) => state.shell.setLive(on ? "Live" : "Reconnecting", on ? "on" : "off");
    state.endStream = follow(changed, onState);
    return;
  }
  const timer = setInterval(changed, POLL_MS);
  state.shell.setLive("Every 5 s", "on");
  state.endStream = () => clearInterval(timer);
}

async function enter() {
  state.shell = buildShell(root, { pages: PAGES, onModel: chooseModel, onTheme: () => show(), onSignOut: leave });
  try {
    await loadModels();
  } catch {
    // As above.
  }
  goLive();
  await show();
}

function chooseModel(name) {
  state.model = name;
  localStorage.setItem(MODEL, name);
  if (location.hash.includes("?")) go(state.page.name);
  else void show();
}

function leave() {
  clearTimeout(settling);
  clearTimeout(lookingAgain);
  state.endStream?.();
  signOut();
  state.page?.leave?.();
  Object.assign(state, { shell: null, page: null, shown: null });
  replace(root, [signInPage(enter)]);
}

addEventListener("hashchange", () => { if (state.shell) void show(); });
addEventListener("online", changed);
setInterval(refreshTimes, 10000);
// Traffic comes without events; what is in view stays fresh without a reload.
setInterval(() => { if (state.shell && !document.hidden) changed(); }, 2 * POLL_MS);
followTheme(() => { if (state.shell) void show(); });

try {
  await signIn(key());
} catch {
  // The form says so when it is tried again.
}
if (signedIn()) await enter();
else replace(root, [signInPage(enter)]);
