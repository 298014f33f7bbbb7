"""The table of kinds, row by row; severities; and that nothing is called harmless without its bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.kind import Evidence, Judgement, atc_low, judge
from trimtab.drift import DriftKind, Harm, LabelledRisk, LabelShiftFound, Share

QUIET = Evidence(inputs=True, max_ks=0.15)


def harm(drop: float, low: float, atc: float) -> Harm:
    return Harm(
        reference_accuracy=0.8, estimated_accuracy=0.8 - drop, drop=drop, drop_low=low, atc_accuracy=0.8 - atc,
        n_reference=2000, note="estimates understate harm",
    )  # fmt: skip


def labels(alarm: bool, accuracy: float = 0.6, low: float = 0.1) -> LabelledRisk:
    return LabelledRisk(
        accuracy=accuracy, n=200, reference_accuracy=0.8, statistic=9.0 if alarm else 1.0, threshold=5.0, alarm=alarm,
        drop_low=low,
    )  # fmt: skip


def shift(explains: bool) -> LabelShiftFound:
    return LabelShiftFound(
        prior_before={"spam": 0.1, "ham": 0.9}, prior_after={"spam": 0.4, "ham": 0.6}, total_variation=0.3,
        residual=0.8 if explains else 3.0, explains=explains,
    )  # fmt: skip


def verdict(evidence: Evidence) -> Judgement:
    return judge(evidence, max_accuracy_drop=0.03)


@pytest.mark.parametrize(
    "evidence, kind, harmful",
    [
        (QUIET, DriftKind.COVARIATE_BENIGN, False),
        (replace(QUIET, harm=harm(0.0, -0.02, 0.0)), DriftKind.COVARIATE_BENIGN, False),
        (replace(QUIET, harm=harm(0.05, 0.02, 0.05)), DriftKind.COVARIATE_HARMFUL, True),
        (replace(QUIET, harm=harm(0.01, -0.01, 0.08)), DriftKind.COVARIATE_HARMFUL, True),
        (replace(QUIET, labelled=labels(alarm=True)), DriftKind.COVARIATE_HARMFUL, True),
        (replace(QUIET, labelled=labels(alarm=False)), DriftKind.COVARIATE_BENIGN, False),
        (replace(QUIET, inputs=False, labelled=labels(alarm=True)), DriftKind.CONCEPT, True),
        (replace(QUIET, label_shift=shift(explains=True)), DriftKind.LABEL_SHIFT, False),
        (
            replace(QUIET, label_shift=shift(explains=True), labelled=labels(True)),
            DriftKind.LABEL_SHIFT,
            True,
        ),
        (replace(QUIET, label_shift=shift(explains=False)), DriftKind.COVARIATE_BENIGN, False),
        (replace(QUIET, max_ks=0.3, vocabulary_ks=0.3), DriftKind.VOCABULARY, False),
        (replace(QUIET, max_ks=0.05, vocabulary_ks=0.05), DriftKind.COVARIATE_BENIGN, False),
        (replace(QUIET, max_ks=0.4, vocabulary_ks=0.3), DriftKind.COVARIATE_BENIGN, False),
        (
            replace(
                QUIET,
                inputs=False,
                labelled=labels(alarm=True),
                source=Share(name="bot", share=0.2, share_new=0.9),
            ),
            DriftKind.CONCEPT,
            True,
        ),
        (
            replace(QUIET, source=Share(name="bot", share=0.2, share_new=0.9), harm=harm(0.1, 0.08, 0.1)),
            DriftKind.SOURCE,
            True,
        ),
    ],
)
def test_the_table(evidence: Evidence, kind: DriftKind, harmful: bool) -> None:
    found = verdict(evidence)
    assert (found.kind, found.harmful) == (kind, harmful)
    assert found.words.endswith(kind.action)


@pytest.mark.parametrize(
    "evidence, severity",
    [
        (replace(QUIET, max_ks=0.05), 0),
        (replace(QUIET, max_ks=0.1), 1),
        (replace(QUIET, max_ks=0.2), 2),
        (replace(QUIET, max_ks=0.9), 2),  # without harm
        (replace(QUIET, max_ks=0.9, harm=harm(0.05, 0.02, 0.05)), 3),
        (replace(QUIET, harm=harm(0.12, 0.1, 0.12)), 3),
        (replace(QUIET, max_ks=0.05, harm=harm(0.016, 0.001, 0.0)), 2),  # harm weighs at least 2
        (replace(QUIET, max_ks=0.05, unexplained_share=0.3), 2),
        (replace(QUIET, max_ks=0.5, label_shift=shift(explains=True)), 1),
        (replace(QUIET, max_ks=0.01, source=Share(name="bot", share=0.2, share_new=0.9)), 3),
        (replace(QUIET, inputs=False, max_ks=0.01, labelled=labels(True, accuracy=0.77, low=0.03)), 2),
        (replace(QUIET, inputs=False, max_ks=0.01, labelled=labels(True, accuracy=0.6, low=0.12)), 3),
    ],
)
def test_severity(evidence: Evidence, severity: int) -> None:
    assert verdict(evidence).severity == severity


def test_a_drop_by_atc_counts_only_beyond_its_noise() -> None:
    small = harm(0.0, -0.02, 0.031)
    assert atc_low(small) < 0 < atc_low(replace(small, n_events=20_000))
    assert not verdict(replace(QUIET, harm=small)).harmful
    assert verdict(replace(QUIET, harm=replace(small, n_events=20_000))).harmful


def test_the_words_say_what_happened_whether_it_hurts_and_what_follows() -> None:
    found = verdict(replace(QUIET, harm=harm(0.05, 0.02, 0.06), unexplained_low=0.31))
    assert "largest D 0.15" in found.words
    assert "at least 31% of them are like nothing known" in found.words
    assert "lost at least 0.02" in found.words
    assert "understate harm" in found.words
    found = verdict(replace(QUIET, labelled=labels(True)))
    assert "accuracy is 0.60 on the newest 200 labels, 0.80 before; it lost at least 0.10" in found.words
    found = verdict(replace(QUIET, source=Share(name="bot", share=0.2, share_new=0.9)))
    assert "'bot' sent 20% of the window and 90% of what is new" in found.words
    assert "'spam' went from 10% to 40%" in verdict(replace(QUIET, label_shift=shift(True))).words


def test_benign_is_said_with_its_bound_never_as_a_fact() -> None:
    found = verdict(replace(QUIET, harm=harm(0.01, -0.01, 0.0)))
    assert "a change of between -0.03 and +0.01: no proof that it is harmless" in found.words
    assert "like nothing that accuracy was ever measured on" not in found.words
    foreign = verdict(replace(QUIET, harm=harm(0.01, -0.01, 0.0), unexplained_low=0.8))
    assert "like nothing that accuracy was ever measured on" in foreign.words
    assert "cannot be estimated" in verdict(QUIET).words
    assert "Labels do not prove harm yet" in verdict(replace(QUIET, labelled=labels(False))).words


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-0.3, 0.3),
    st.floats(0, 0.1),
    st.floats(-0.1, 0.2),
    st.booleans(),
)
def test_more_harm_never_makes_it_less_severe(
    max_ks: float, unexplained: float, drop: float, noise: float, atc: float, inputs: bool
) -> None:
    evidence = Evidence(
        inputs=inputs, max_ks=max_ks, unexplained_share=unexplained, harm=harm(drop, drop - noise, atc),
        labelled=None if inputs else labels(True),
    )  # fmt: skip
    worse = replace(evidence, harm=harm(drop + 0.05, drop + 0.05 - noise, atc))
    assert 0 <= verdict(evidence).severity <= verdict(worse).severity <= 3
    assert verdict(worse).harmful >= verdict(evidence).harmful
