// How the service's words are said to people. A word that is not known here is shown as it is.

/** State of a model's inputs: tone and a short name. The service's own sentence stands beside it. */
const STATES = {
  collecting: ["info", "Collecting"],
  calibrating: ["info", "Calibrating"],
  ok: ["good", "On course"],
  known: ["good", "Known traffic"],
  suspect: ["warn", "Suspect"],
  drifting: ["bad", "Drifting"],
  acknowledged: ["warn", "Drift accepted"],
  adapting: ["info", "Adapting"],
  cooldown: ["warn", "Drifting, cooling down"],
  needs_human: ["bad", "Needs a person"],
};

const KINDS = {
  covariate_benign: ["Inputs changed", "The inputs changed; no harm is visible so far."],
  covariate_harmful: ["Harmful change of inputs", "The inputs changed and the model is worse on them."],
  label_shift: ["Class shares changed", "The classes come in other shares; within a class inputs look the same."],
  concept: ["Meaning changed", "The model errs more often on inputs that look the same."],
  vocabulary: ["New script or words", "Another script or unknown tokens moved more than anything else."],
  source: ["One client", "One client of several accounts for the change."],
};

const SEVERITIES = ["none", "mild", "serious", "severe"];

const JOBS = {
  queued: ["info", "Queued"],
  waiting_for_labels: ["warn", "Waiting for labels"],
  running: ["info", "Running"],
  on_trial: ["info", "On trial"],
  promoted: ["good", "Promoted"],
  rejected: ["bad", "Rejected"],
  held: ["warn", "Held for a person"],
  failed: ["bad", "Failed"],
  cancelled: ["plain", "Cancelled"],
  timed_out: ["warn", "Timed out"],
};

/** Stages of a trial: tone and a short name. */
const TRIALS = {
  shadow: ["info", "Unseen"],
  canary: ["info", "For a share"],
  promoted: ["good", "Passed"],
  rejected: ["bad", "Rejected"],
  abandoned: ["warn", "Broken off"],
};

const VERSIONS = {
  reserved: ["info", "Being made"],
  accepted: ["good", "Accepted"],
  rejected: ["bad", "Rejected"],
  held: ["warn", "Held"],
  rolled_back: ["warn", "Rolled back"],
  quarantined: ["bad", "Quarantined"],
  collected: ["plain", "Files deleted"],
};

const RESULTS = {
  pass: ["good", "Passed"],
  fail: ["bad", "Failed"],
  insufficient_data: ["warn", "Too little data"],
};

const ARMS = {
  short: "Short window",
  long: "Long window",
  e_detector: "Since the start",
  labels: "Labels",
};

const FEATURES = {
  max_prob: "Confidence",
  entropy: "Uncertainty (entropy)",
  n_tokens: "Length in tokens",
  unknown_share: "Unknown words",
  non_ascii_share: "Non-ASCII characters",
  digit_share: "Digits",
  symbol_share: "Symbols and emoji",
  east_asian_share: "East Asian script",
};

const STAGES = {
  reading: "Reading the window",
  plan: "Planning",
  training: "Training",
  prior: "Trying a prior correction",
  temperature: "Trying another temperature",
  centre: "Trying to re-centre",
  known: "Trying known versions",
  head: "Refitting the head",
  lora: "Training the adapter",
  self_training: "Training on unlabelled text",
  references: "Drift reference",
  gate: "Gate",
  publishing: "Publishing",
};

const pick = (table, word) => table[word] ?? ["plain", sentence(word ?? "")];

export const stateOf = (word) => pick(STATES, word);
export const jobOf = (word) => pick(JOBS, word);
export const trialOf = (word) => pick(TRIALS, word);
export const versionOf = (word) => pick(VERSIONS, word);
export const resultOf = (word) => pick(RESULTS, word);
export const kindOf = (word) => KINDS[word] ?? [sentence(word ?? ""), ""];
export const severityOf = (n) => SEVERITIES[n] ?? String(n);
export const armOf = (word) => ARMS[word] ?? sentence(word);
export const stageOf = (word) => STAGES[word] ?? sentence(word ?? "");

/** A feature's name for people: pca_00 -> Direction 1, log_p_x -> Log-probability of x. */
export function featureOf(name) {
  const direction = /^pca_(\d+)$/.exec(name);
  if (direction) return `Direction ${Number(direction[1]) + 1}`;
  if (name.startsWith("log_p_")) return `Log-probability of “${name.slice(6)}”`;
  return FEATURES[name] ?? sentence(name);
}

/** A check's name for people: forgetting:movie -> Nothing forgotten on movie. */
export function checkOf(name) {
  const [kind, of] = name.split(/:(.*)/s);
  const known = {
    integrity: "Weights are sound",
    parity: "Merged answers as unmerged",
    forgetting: "Nothing forgotten",
    gain: "Better on the new domain",
    calibration: "Confidence is honest",
    likelihood: "Its probabilities are as likely",
    slices: "No slice suffers",
    update: "An update like those before",
    flips: "Answers change where they should",
    use: "The gate set is not worn",
    unchanged: "No answer changes",
    benign: "Labels show no loss",
    calibration_gain: "Its probabilities are likelier",
    trial: "A trial on real traffic",
    data: "Training data",
  };
  const said = known[kind] ?? sentence(kind);
  return of ? `${said}: ${of.replaceAll("_", " ")}` : said;
}

const REMEDIES = {
  champion: "Version in use",
  reference: "References only",
  prior: "Prior correction",
  temperature: "Temperature",
  centre: "Centring",
  known: "Version",
  head: "Head refit",
  lora: "LoRA",
  self_training: "Self-training",
  rebase: "Another base",
};

/** A remedy's name for people: lora@0.8 -> LoRA, 80 % of the step; known:3 -> Version 3. */
export function remedyOf(name) {
  const [, kind, version, step] = /^(\w+?)(?::(\d+))?(?:@([\d.]+))?$/.exec(name ?? "") ?? [null, name];
  const said = REMEDIES[kind] ?? sentence(kind ?? "");
  return `${said}${version ? ` ${version}` : ""}${step ? `, ${Math.round(100 * step)} % of the step` : ""}`;
}

/** Why a job was opened. */
export function causeOf(cause) {
  const opened = {
    drift: "the monitor saw a drift worth acting on",
    manual: `${cause.actor ?? "an operator"} asked for it`,
    rebase: `it moves to another base, ${cause.base ?? ""}`,
    prior_back: "the classes' shares are as before the prior correction",
    alert: `the alert ${cause.alert ?? ""} fired`,
  };
  const why = opened[cause.kind] ?? sentence(cause.kind ?? "unknown");
  return cause.reason ? `${why}: ${cause.reason}` : why;
}

const PARTS = { train: "training", gate: "the gate", selection: "choosing among rivals" };

/** A part of the labels, of one class or of all: train:positive -> training, class “positive”. */
export function partOf(part) {
  const [name, label] = part.split(/:(.*)/s);
  return label ? `${PARTS[name] ?? name}, class “${label}”` : PARTS[name] ?? name;
}

/** What an open job waits for, in a sentence. */
export function waitingFor(job) {
  const lacking = Object.entries(job.missing ?? {}).filter(([part, n]) => n > 0 && !part.includes(":"));
  if (job.status === "queued") return "A worker takes it in a moment.";
  if (job.status === "running") return "A worker has taken it and reads the window.";
  if (job.status !== "waiting_for_labels" || !lacking.length) return job.meaning;
  return `Labels are missing: ${lacking.map(([part, n]) => `${n} for ${partOf(part)}`).join(", ")}.`;
}

/** An event in a sentence. */
export function eventOf({ kind, detail }) {
  const said = {
    model_created: () => `Model created with the labels ${(detail.labels ?? []).join(", ")}`,
    version_recorded: () => `Version ${detail.version} recorded, ${pick(VERSIONS, detail.state)[1].toLowerCase()}`,
    promoted: () => `Version ${detail.version} promoted${detail.previous ? `; ${detail.previous} is previous` : ""}`,
    rolled_back: () => `Stepped back from version ${detail.rolled_back} to ${detail.version}`,
    quarantined: () => `Version ${detail.version} quarantined`,
    alias_set: () => `Alias ${detail.alias} points to version ${detail.version}`,
    alias_dropped: () => `Alias ${detail.alias} removed`,
    job_opened: () => `Adaptation opened: ${causeOf(detail.cause ?? {})}`,
    job_finished: () => `Adaptation ended: ${pick(JOBS, detail.status)[1].toLowerCase()}`,
    trial_started: () => `Version ${detail.version} is on trial, unseen, against version ${detail.champion}`,
    trial_advanced: () => `Version ${detail.version}, on trial, answers ${Math.round(100 * (detail.share ?? 0))} % of the clients`,
    trial_ended: () => `Trial of version ${detail.version} ended: ${pick(TRIALS, detail.stage)[1].toLowerCase()}`,
    trial_skipped: () => "No trial: promoted at once",
    drift_acknowledged: () => `Drift accepted at ${Number(detail.ratio ?? 0).toFixed(2)} times the threshold`,
    watch_ended: () => `Version ${detail.version} kept: its watch is over`,
    promise_broken: () => `Version ${detail.version} breaks the gate's promise, and there is nothing to step back to`,
    labels_requested: () => `${detail.n} labels asked for`,
    gate_labels_requested: () => `${detail.n} labels asked for, at random: the gate's examples of ${detail.domain} are few or often used`,
    gate_set_renewed: () => `The gate judges ${detail.domain} by ${detail.n} new examples; ${detail.retired} old ones have decided often enough`,
    label_requests_closed: () => `The other ${detail.n} label requests closed: the accuracy is known well enough`,
    samples_forgotten: () => "Samples forgotten on demand",
    version_collected: () => `Files of version ${detail.version} deleted by retention`,
  };
  return (said[kind] ?? (() => sentence(kind)))();
}

/** Tone of an event, for its dot. */
export function toneOf({ kind, detail }) {
  const tones = { promoted: "good", watch_ended: "good", promise_broken: "bad", labels_requested: "info", gate_labels_requested: "info", gate_set_renewed: "good", rolled_back: "warn", quarantined: "bad", alias_set: "info", trial_started: "info", trial_advanced: "info" };
  if (kind === "trial_ended") return pick(TRIALS, detail.stage)[0];
  if (kind === "job_finished") return pick(JOBS, detail.status)[0];
  if (kind.includes("drift") || kind.includes("alarm")) return "warn";
  return tones[kind] ?? "plain";
}

/** snake_case -> Snake case. */
export function sentence(word) {
  const spaced = String(word).replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
