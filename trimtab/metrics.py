"""Every Prometheus metric of Trimtab. Base units, bounded labels, never a text."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_LATENCY = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)

REQUESTS = Counter("trimtab_requests_total", "Answered HTTP requests", ["route", "code"])
REQUEST_DURATION = Histogram(
    "trimtab_request_duration_seconds", "Time to answer", ["route"], buckets=_LATENCY
)
QUEUE_DURATION = Histogram(
    "trimtab_queue_duration_seconds", "Wait for the engine", ["model"], buckets=_LATENCY
)
INFERENCE_DURATION = Histogram(
    "trimtab_inference_duration_seconds", "Compute of one batch", ["model"], buckets=_LATENCY
)
BATCH_SIZE = Histogram(
    "trimtab_batch_size", "Items of one batch", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
REJECTED = Counter("trimtab_rejected_total", "Requests refused before compute", ["reason"])
PREDICTIONS = Counter("trimtab_predictions_total", "Predicted items", ["model", "version", "label"])

# Modes: how several API processes that share a port are added up (see service/exposition.py).
SERVING_VERSION = Gauge(
    "trimtab_serving_version_info",
    "1 for the version in use",
    ["model", "version", "digest"],
    multiprocess_mode="livesum",
)
GENERATION = Gauge(
    "trimtab_generation",
    "Generation that the ledger wants to be served",
    ["model"],
    multiprocess_mode="livemax",
)
OBSERVED_GENERATION = Gauge(
    "trimtab_observed_generation",
    "Generation that this replica serves",
    ["model"],
    multiprocess_mode="livemin",
)
SWAPS = Counter("trimtab_swaps_total", "Attempts to serve another version", ["model", "outcome"])
SWAP_PHASE_DURATION = Histogram(
    "trimtab_swap_phase_duration_seconds",
    "Phases of a swap",
    ["phase"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0),
)
SHADOW_ANSWERS = Counter(
    "trimtab_shadow_answers_total",
    "Samples that a version on trial answered as well, or why not",
    ["model", "result"],
)
TRIAL_STATE = Gauge("trimtab_trial_state", "1 for the stage of the model's trial", ["model", "state"])
TRIAL_SHARE = Gauge(
    "trimtab_trial_share", "Share of the clients that the version on trial answers", ["model"]
)
TRIAL_DISAGREEMENT = Gauge(
    "trimtab_trial_disagreement", "Share of unseen answers that differ from the champion's", ["model"]
)
TRIALS = Counter("trimtab_trials_total", "Trials that the monitor ended", ["model", "outcome"])
SAMPLES_DROPPED = Counter(
    "trimtab_samples_dropped_total", "Samples that never reached the stream", ["reason"]
)

DRIFT_STATISTIC = Gauge("trimtab_drift_statistic", "Drift statistic", ["model", "domain", "arm"])
DRIFT_THRESHOLD = Gauge(
    "trimtab_drift_threshold", "Calibrated threshold of the statistic", ["model", "domain", "arm"]
)
DRIFT_FEATURE_KS = Gauge(
    "trimtab_drift_feature_ks", "KS distance of the most drifted features", ["model", "rank"]
)
DRIFT_STATE = Gauge("trimtab_drift_state", "1 for the present state", ["model", "state"])
DRIFT_SEVERITY = Gauge("trimtab_drift_severity", "0 none to 3 severe, by effect and harm", ["model"])
DRIFT_KIND = Gauge("trimtab_drift_kind_info", "1 for the kind of the present drift", ["model", "kind"])
DRIFT_ESTIMATED_ACCURACY = Gauge(
    "trimtab_drift_estimated_accuracy",
    "Accuracy estimated without labels; it understates harm",
    ["model", "version"],
)
DRIFT_REFERENCE_ACCURACY = Gauge(
    "trimtab_drift_reference_accuracy", "The same estimate on the reference", ["model", "version"]
)
DRIFT_LABEL_SHIFT = Gauge(
    "trimtab_drift_label_shift_total_variation", "Estimated change of the class shares, 0 to 1", ["model"]
)
DRIFT_ANCHOR_KS = Gauge(
    "trimtab_drift_anchor_ks", "Largest KS distance to the domains of the first version", ["model"]
)
DRIFT_REFERENCE_READY = Gauge(
    "trimtab_drift_reference_ready", "1 with calibrated thresholds, 0 with safe ones or none", ["model"]
)
DRIFT_LABELLED_ACCURACY = Gauge(
    "trimtab_drift_labelled_accuracy", "Accuracy on labelled traffic", ["model", "version"]
)
DRIFT_ALARMS = Counter(
    "trimtab_drift_alarms_total", "Calibrated thresholds crossed (first check of an episode)", ["model"]
)
DRIFT_EVENTS = Counter("trimtab_drift_events_total", "Samples that the monitor took in", ["model"])
MONITOR_ERRORS = Counter(
    "trimtab_monitor_errors_total", "Steps of the monitor that failed, it went on", ["step"]
)
MONITOR_LAG = Gauge(
    "trimtab_drift_monitor_lag_seconds",
    "Age of the oldest block that is not in the ledger",
    multiprocess_mode="livemax",
)

FEEDBACK = Counter("trimtab_feedback_total", "Feedback items", ["outcome"])
FEEDBACK_DELAY = Histogram(
    "trimtab_feedback_delay_seconds",
    "From a prediction to its label, where the prediction was known when the label came",
    ["model"],
    buckets=(1, 10, 60, 600, 3600, 6 * 3600, 86_400, 3 * 86_400, 7 * 86_400),
)
FEEDBACK_PENDING = Gauge(
    "trimtab_feedback_pending", "Labels that wait for their prediction", multiprocess_mode="livemax"
)
LABEL_REQUESTS_OPEN = Gauge("trimtab_label_requests_open", "Open label requests", ["model", "reason"])
LABEL_REQUEST_AGE = Gauge(
    "trimtab_label_request_age_seconds", "Age of the oldest open label request", ["model"]
)
LABELS_MISSING = Gauge("trimtab_labels_missing", "Labels that a waiting job still needs", ["model", "part"])

QUEUE_DEPTH = Gauge(
    "trimtab_queue_depth", "Messages in the workers' queue that no worker has taken", ["queue"]
)
JOBS = Counter("trimtab_jobs_total", "Ended adaptation jobs", ["model", "outcome"])
JOB_DURATION = Histogram(
    "trimtab_job_duration_seconds",
    "Run time of adaptation jobs",
    ["model"],
    buckets=(10, 30, 60, 120, 300, 600, 1800, 7200),
)
JOB_RUNNING = Gauge("trimtab_job_running", "1 while an adaptation runs", ["model"])
JOB_PROGRESS = Gauge(
    "trimtab_job_progress_ratio", "Share of the running job's present stage that is done", ["model"]
)
GATE_CHECKS = Counter("trimtab_gate_checks_total", "Results of gate checks", ["model", "check", "result"])
ADAPTATION_GAIN = Gauge("trimtab_adaptation_gain", "Accuracy gained on the new domain, last gate", ["model"])
FORGETTING = Gauge("trimtab_forgetting", "Largest accuracy lost on a past domain, last gate", ["model"])
ROLLBACKS = Counter("trimtab_rollbacks_total", "Rollbacks", ["model", "actor"])
MEMORY_EXEMPLARS = Gauge(
    "trimtab_memory_exemplars", "Exemplars kept for replay", ["model", "domain", "label"]
)
