"""Fitting to rows whose scores are given: what is found, and what the order of rows changes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.conftest import CatalogFolder

from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.calibration.fit import Fitting, folds, row_weights
from tierwise_server.calibration.objective import AsItIs, Granularity, MostAccurate
from tierwise_server.calibration.rows import (
    OUT_OF_SCOPE,
    Label,
    LabelledText,
    Row,
    subject_of,
    without_repetition,
)
from tierwise_server.calibration.validate import validate
from tierwise_server.catalog.calibration import Subject
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.decide import open_decision
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.scoring import Lead

TIERS = ("budget", "mid", "premium")
ELSEWHERE = {"budget": 0.30, "mid": 0.55, "premium": 0.40}
"""Score that separates the prompts of each tier from those that nothing is for."""


@pytest.fixture
def loaded(catalog: CatalogFolder) -> Catalog:
    return load_catalog(catalog.path)


def made(catalog: Catalog, count: int, seed: int = 1) -> list[Row]:
    """Returns prompts of three tiers and of none; a tenth has its tier wrong."""
    chance = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        rank = number % 3
        tier = TIERS[rank]
        is_outside = chance.random() < 0.3
        gap = chance.uniform(-0.2, 0.0) if is_outside else chance.uniform(0.0, 0.3)
        score = ELSEWHERE[tier] + gap
        label = OUT_OF_SCOPE if is_outside else tier
        if not is_outside and chance.random() < 0.1:
            label = TIERS[(rank + 1) % 3]
        scores = [score if place == rank else score - 0.3 for place in range(3)]
        rows.append(
            Row(
                label=Label(tier=label),
                key=f"prompt {number}",
                opening=open_decision(catalog, RoutingRequest(text=f"prompt {number}"), ""),
                leads=tuple(Lead(2 * place, one, one) for place, one in enumerate(scores)),
            )
        )
    return rows


def test_each_tier_gets_the_threshold_that_separates_its_prompts(loaded: Catalog) -> None:
    rows = made(loaded, 900)
    objective = MostAccurate(granularity=Granularity.TIER)
    fitted = Fitting(loaded, rows, objective, Subject.TIER).fit()
    # Of the default tier, prompts below its threshold are right either way.
    assert fitted.tier_thresholds["budget"] == pytest.approx(ELSEWHERE["budget"], abs=0.02)
    assert fitted.tier_thresholds["premium"] == pytest.approx(ELSEWHERE["premium"], abs=0.02)
    assert fitted.curve is not None


def test_the_order_of_the_rows_changes_no_fold_and_no_figure(loaded: Catalog) -> None:
    rows = made(loaded, 300)
    shuffled = rows.copy()
    random.Random(4).shuffle(shuffled)  # noqa: S311 - no secret
    by_key = dict(zip((row.key for row in rows), folds(rows, 5).tolist(), strict=True))
    assert [by_key[row.key] for row in shuffled] == folds(shuffled, 5).tolist()
    sizes = np.bincount(folds(rows, 5))
    assert sizes.max() - sizes.min() <= 1
    first, second = (
        validate(fitting, fitting.fit())
        for fitting in (Fitting(loaded, one, AsItIs(), Subject.TIER) for one in (rows, shuffled))
    )
    assert first.calibration_error == pytest.approx(second.calibration_error, abs=1e-6)
    assert first.after.accuracy == second.after.accuracy


def test_a_stated_share_weighs_what_nothing_is_for(loaded: Catalog) -> None:
    rows = made(loaded, 300)
    outside = np.array([not row.label.in_scope for row in rows])
    weights = row_weights(rows, 0.6)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[outside].sum() / weights.sum() == pytest.approx(0.6)
    few = Fitting(loaded, rows, MostAccurate(), Subject.TIER, 0.05).fit()
    many = Fitting(loaded, rows, MostAccurate(), Subject.TIER, 0.9).fit()
    assert few.threshold is not None
    assert many.threshold is not None
    assert few.threshold.value < many.threshold.value
    inside_only = [row for row in rows if row.label.in_scope]
    with pytest.raises(CalibrationError, match="nothing is for"):
        row_weights(inside_only, 0.5)


def test_confidences_are_right_as_often_as_they_say(loaded: Catalog) -> None:
    rows = made(loaded, 1500)
    fitting = Fitting(loaded, rows, MostAccurate(), Subject.TIER)
    found = validate(fitting, fitting.fit())
    assert found.calibration_error is not None
    # The truth here is a step per tier, which no logistic curve over all tiers follows closely.
    assert found.calibration_error < 0.1
    risks = [point.risk for point in found.risk_coverage]
    assert risks[0] < risks[-1]
    assert all(point.risk <= point.risk_bound for point in found.risk_coverage)


def test_too_few_wrong_matches_say_how_many_are_missing(loaded: Catalog) -> None:
    rows = [row for row in made(loaded, 300) if row.label.in_scope]
    right = [
        row
        for row in rows
        if row.leads is not None
        and TIERS[max(range(3), key=[lead.score for lead in row.leads].__getitem__)]
        == row.label.tier
    ]
    with pytest.raises(CalibrationError, match="only 0 are wrong: 10 are missing"):
        Fitting(loaded, right, AsItIs(), Subject.TIER).fit()


def test_repeated_prompts_count_once_and_contradictions_are_named() -> None:
    first = LabelledText(text="a  b", label=Label(tier="mid"), source="x.jsonl:1")
    again = LabelledText(text=" a b", label=Label(tier="mid"), source="x.jsonl:2")
    other = LabelledText(text="a b", label=Label(tier="premium"), source="x.jsonl:3")
    assert without_repetition([first, again]) == [first]
    with pytest.raises(CalibrationError, match=r"x\.jsonl:3 says premium, x\.jsonl:1 says mid"):
        without_repetition([first, again, other])


def test_labels_are_about_tasks_where_all_of_them_name_one() -> None:
    task, tier = Label(tier="mid", task="sql"), Label(tier="mid")
    nothing = Label(tier=OUT_OF_SCOPE)
    assert subject_of([task, nothing]) is Subject.TASK
    assert subject_of([task, tier, nothing]) is Subject.TIER
    assert subject_of([nothing]) is Subject.TIER
