// Promote, hold, roll back: each asks first and says what will happen.

import { path, send } from "../api.js";
import { confirm } from "../dialog.js";
import { toast } from "../dom.js";
import { button } from "../parts.js";

const SOON = "It serves on every replica within about a second; no request is dropped and none is answered by two versions.";

/** Buttons for the model as a whole. */
export function modelActions({ aliases, generation }, context) {
  if (!aliases.champion) return [];
  const made = [];
  if (aliases.previous) made.push(button(`Roll back to version ${aliases.previous}`, () => rollBack(aliases, context), { kind: "danger", glyph: "back", id: "roll-back" }));
  made.push(aliases.pinned
    ? button("Release", () => release(aliases, context), { glyph: "up", id: "release" })
    : button("Hold", () => hold(aliases, generation, context), { glyph: "pause", id: "hold" }));
  return made;
}

/** Buttons for one version. */
export function versionActions(version, listed, context) {
  if (version.aliases.includes("champion") || !version.digest || version.state === "collected") return [];
  const promoting = button("Promote", () => promote(version, listed, context), { kind: "primary", glyph: "up", id: "promote" });
  const tried = listed.trial?.version === version.version;
  return tried ? [promoting, button("End its trial", () => endTrial(listed, context), { kind: "danger", id: "end-trial" })] : [promoting];
}

async function promote(version, listed, context) {
  const { aliases, generation } = listed;
  const refused = ["rejected", "quarantined"].includes(version.state);
  const agreed = await confirm({
    title: `Promote version ${version.version}?`,
    action: "Promote",
    consequences: [
      `Version ${version.version} becomes the champion. ${SOON}`,
      aliases.champion ? `Version ${aliases.champion} becomes “previous”: rolling back returns to it.` : null,
      listed.trial ? `The trial of version ${listed.trial.version} ends.` : null,
      "Drift is measured against the new version's reference from then on.",
      `If somebody changed something since generation ${generation}, nothing happens and you are told.`,
    ],
    force: refused ? `It is ${version.state}${version.reason ? `: ${version.reason}` : ""}. Promote it all the same.` : null,
  });
  if (!agreed) return;
  const order = { version: version.version, reason: agreed.reason, force: agreed.force };
  await attempt(() => send("PUT", path`/admin/v1/models/${context.model}/aliases/champion`, order, generation), `Version ${version.version} is promoted`, context);
}

async function rollBack(aliases, context) {
  const agreed = await confirm({
    title: `Roll back to version ${aliases.previous}?`,
    action: `Roll back to version ${aliases.previous}`,
    kind: "danger",
    consequences: [
      `Version ${aliases.previous} becomes the champion again. ${SOON}`,
      `Version ${aliases.champion} is marked as rolled back; what it learnt on probation leaves the memory.`,
      "Drift is measured against the older reference again, and the monitor waits before it adapts anew.",
      "After that there is no “previous” left: to come back, promote a version by hand.",
    ],
  });
  if (!agreed) return;
  const order = { reason: agreed.reason };
  await attempt(() => send("POST", path`/admin/v1/models/${context.model}/rollback`, order), `Back at version ${aliases.previous}`, context);
}

async function hold(aliases, generation, context) {
  const agreed = await confirm({
    title: `Hold at version ${aliases.champion}?`,
    action: "Hold",
    consequences: [
      `Version ${aliases.champion} stays in use until you release it, promote another one or roll back.`,
      "The monitor and the adaptations go on. A version that passes the gate ends held, and waits for you here.",
      "A rollback by the watch, or because a replica cannot load a version, still happens.",
    ],
  });
  if (!agreed) return;
  const order = { version: aliases.champion, reason: agreed.reason };
  await attempt(() => send("PUT", path`/admin/v1/models/${context.model}/aliases/pinned`, order, generation), "Held", context);
}

async function release(aliases, context) {
  const agreed = await confirm({ title: "Release the model?", action: "Release", consequences: ["What passes the gate is promoted again by itself.", "Versions that were held meanwhile stay held until you promote them."] });
  if (!agreed) return;
  const reason = new URLSearchParams({ reason: agreed.reason });
  await attempt(() => send("DELETE", `${path`/admin/v1/models/${context.model}/aliases/pinned`}?${reason}`), "Released", context);
}

async function endTrial({ trial, aliases }, context) {
  const agreed = await confirm({
    title: `End the trial of version ${trial.version}?`,
    action: "End its trial",
    kind: "danger",
    consequences: [
      `Nobody is answered by version ${trial.version} any more, within about a second; version ${aliases.champion} serves on.`,
      "What it learnt on probation leaves the memory, and its job ends cancelled.",
      "The version is held: you may still promote it.",
    ],
  });
  if (!agreed) return;
  const reason = new URLSearchParams({ reason: agreed.reason });
  await attempt(() => send("DELETE", `${path`/admin/v1/models/${context.model}/aliases/challenger`}?${reason}`), "The trial is ended", context);
}

async function attempt(act, said, { refresh }) {
  try {
    await act();
    toast(said, "good");
  } catch (problem) {
    toast(problem.message, "bad");
  }
  await refresh();
}
