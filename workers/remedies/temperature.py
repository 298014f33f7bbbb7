"""Temperature scaling: how sure the champion says it is, without changing a single answer.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (arXiv 1706.04599), section 4.2. Bias-corrected
temperature scaling (BCTS) adds one number a class: Alexandari, Kundaje, Shrikumar, "Maximum Likelihood With
Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation", ICML 2020 (arXiv 1901.06852), section 3.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from trimtab.stats.label_shift import Doubles, Integers
from workers.remedies.variants import with_remedy
from workers.task import Declined, Proposal, Task

MIN_LABELS = 50
LOG_BOUNDS = (-3.0, 3.0)  # of the temperature's logarithm: 0.05 to 20
LEAST_GAIN = 0.005  # of the negative log-likelihood, nats a text; less is noise

NAME = "temperature"


def propose_temperature(task: Task) -> Proposal | Declined:
    """The champion with the temperature that makes its probabilities likeliest on the window's training labels."""
    n = len(task.train.texts)
    if n < MIN_LABELS:
        return Declined(NAME, f"{n} labels are too few for a temperature: {MIN_LABELS} are needed")
    remedy = task.champion.bundle.remedy
    # What the temperature is applied to: logits with the domain's shift; the prior is added after it.
    logits = np.asarray(task.champion.answers.outputs(task.train.texts).logits, dtype=np.float64)
    if task.named:
        logits = logits + np.array(remedy.shifts.get(task.domain, (0.0,) * logits.shape[1]))
    prior = np.zeros(logits.shape[1]) if remedy.log_prior is None else np.array(remedy.log_prior)
    found = fit_temperature(logits, task.train.labels, prior)
    before = nll(logits / remedy.temperature + prior, task.train.labels)
    after = nll(logits / found + prior, task.train.labels)
    if before - after < LEAST_GAIN:
        return Declined(
            NAME, f"the probabilities are calibrated: a temperature gains {before - after:.3f} nats"
        )
    return Proposal(
        name=NAME,
        candidate=with_remedy(task, replace(remedy, temperature=found)),
        cost=1,
        reason=f"temperature {found:.2f}: {before:.3f} to {after:.3f} nats a text; the order of the labels stays",
        details={"temperature": found, "nll_before": before, "nll_after": after, "n": n},
    )


def nll(logits: Doubles, labels: Integers) -> float:
    """Mean negative log-likelihood in nats of (n,) labels under (n, k) logits."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: Doubles, labels: Integers, prior: Doubles) -> float:
    """The T that minimises the NLL of softmax(logits / T + prior); (n, k) logits, (k,) prior."""
    found = minimize_scalar(
        lambda log_t: nll(logits / np.exp(log_t) + prior, labels), bounds=LOG_BOUNDS, method="bounded"
    )
    return float(np.exp(found.x))


def fit_bcts(logits: Doubles, labels: Integers) -> tuple[float, Doubles]:
    """(T, b) that minimise the NLL of softmax(logits / T + b): (n, k) logits -> temperature and (k,) bias, mean 0.

    Convex in (1 / T, b); labels of every class are needed, else a bias runs away.
    """
    n, k = logits.shape
    truth = np.eye(k)[labels]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = log_softmax(logits * parameters[0] + parameters[1:], axis=1)
        error = (np.exp(scores) - truth) / n
        return float(-(truth * scores).sum() / n), np.append((error * logits).sum(), error.sum(axis=0))

    bounds = [(float(np.exp(LOG_BOUNDS[0])), float(np.exp(LOG_BOUNDS[1])))] + [(None, None)] * k
    found = minimize(loss, np.append(1.0, np.zeros(k)), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(1.0 / found[0]), np.asarray(found[1:] - found[1:].mean(), dtype=np.float64)
