"""Confidence and the resting dial in decisions: by table, and as a property."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import CatalogFolder, write_catalog

from tierwise_server.catalog.calibration import (
    Binding,
    Bound,
    Calibration,
    ConfidenceCurve,
    StalePolicy,
    Subject,
)
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.confidence import match_figures
from tierwise_server.deciding.decide import close_decision, open_decision
from tierwise_server.deciding.decision import DecisionKind, Verdict
from tierwise_server.deciding.request import Constraints, RoutingRequest
from tierwise_server.deciding.semantic import Abstention
from tierwise_server.scoring import Lead

CURVE = ConfidenceCurve(intercept=-1.0, score=2.0, margin=4.0, similarity=1.0)
CALIBRATION = Calibration(
    subject=Subject.TIER,
    objective="by hand",
    threshold=0.5,
    tier_thresholds={},
    task_thresholds={},
    dial=0.5,
    curve=CURVE,
    binding=Binding(
        encoder="", scorer="", utterances="", settings="", data_source="", data="", row_count=0
    ),
    figures={},
)
LEADS = (
    Lead(0, 0.9, 0.8, 0.85),
    Lead(2, 0.6, 0.5, 0.1),
    Lead(4, 0.2, 0.3, -0.2),
)
SCORES = st.floats(-0.5, 1.0, allow_nan=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The small catalog; threshold 0.5, margin 0.05."""
    folder: CatalogFolder = write_catalog(
        tmp_path_factory.mktemp("catalog"), settings="threshold: 0.5\nmargin: 0.05\n"
    )
    return load_catalog(folder.path)


def decide(catalog: Catalog, leads: tuple[Lead, ...], **fields: object) -> Verdict:
    request = RoutingRequest(text="a prompt", **fields)  # type: ignore[arg-type]
    opening = open_decision(catalog, request, "")
    return close_decision(catalog, opening, leads if opening.needs_vector else None)


@pytest.mark.parametrize(
    ("rank", "subject", "figures"),
    [
        (0, Subject.TIER, (0.9, 0.3, 0.8)),
        (0, Subject.TASK, (0.9, 0.05, 0.8)),
        # A tier that a tie or the dial chose trails the best one.
        (1, Subject.TIER, (0.6, -0.3, 0.5)),
        (1, Subject.TASK, (0.6, -0.3, 0.5)),
    ],
)
def test_what_a_confidence_is_made_of(
    rank: int, subject: Subject, figures: tuple[float, ...]
) -> None:
    assert match_figures(LEADS, rank, subject) == pytest.approx(figures)


def test_without_rivals_the_margin_is_nothing() -> None:
    assert match_figures(LEADS[:1], 0, Subject.TIER).margin == 0.0
    alone = (Lead(0, 0.9, 0.8), Lead(1, float("-inf"), float("-inf")))
    assert match_figures(alone, 0, Subject.TASK).margin == 0.0


def test_only_what_utterances_decided_has_a_confidence(plain: Catalog) -> None:
    catalog = replace(plain, calibration=CALIBRATION)
    assert decide(plain, LEADS).confidence is None
    sure = decide(catalog, LEADS)
    assert sure.confidence == pytest.approx(CURVE.at(0.9, 0.3, 0.8))
    unsure = decide(catalog, tuple(lead._replace(score=lead.score - 0.5) for lead in LEADS))
    assert (unsure.kind, unsure.confidence) == (DecisionKind.DEFAULT, None)
    pinned = decide(catalog, LEADS, constraints=Constraints(pinned_tier="mid"))
    assert pinned.confidence is None
    moved = decide(catalog, LEADS, constraints=Constraints(lowest_tier="premium"))
    assert (moved.tier.id, moved.confidence) == ("premium", None)
    thresholds_only = replace(plain, calibration=replace(CALIBRATION, curve=None))
    assert decide(thresholds_only, LEADS).confidence is None


def test_a_tie_has_the_confidence_of_the_tier_that_it_goes_to(plain: Catalog) -> None:
    catalog = replace(plain, calibration=CALIBRATION)
    tied = decide(catalog, (Lead(0, 0.62, 0.8, 0.1), *LEADS[1:]))
    assert tied.tier.id == "mid"
    assert tied.confidence == pytest.approx(CURVE.at(0.6, -0.02, 0.5))


def test_a_stale_calibration_leaves_prompts_to_rules_where_the_catalog_says_so(
    plain: Catalog,
) -> None:
    stale = replace(plain, calibration=CALIBRATION, stale_bounds=(Bound.UTTERANCES,))
    assert decide(stale, LEADS).kind is DecisionKind.SEMANTIC
    ruled = decide(replace(stale, stale_calibration=StalePolicy.RULES), LEADS)
    assert ruled.kind is DecisionKind.DEFAULT
    assert ruled.abstention is Abstention.STALE_CALIBRATION
    current = replace(stale, stale_calibration=StalePolicy.RULES, stale_bounds=())
    assert decide(current, LEADS).kind is DecisionKind.SEMANTIC


def test_the_resting_dial_moves_that_of_each_request(plain: Catalog) -> None:
    rested = replace(plain, calibration=replace(CALIBRATION, dial=0.8))
    assert decide(rested, LEADS, dial=0.3).tier.id == decide(plain, LEADS, dial=0.6).tier.id
    far = replace(plain, calibration=replace(CALIBRATION, dial=10.0))
    assert decide(far, LEADS).tier.id == "premium"
    near = replace(plain, calibration=replace(CALIBRATION, dial=-10.0))
    # Above the default tier nothing reaches its threshold, below it everything does.
    assert decide(near, LEADS).tier.id == "budget"


@given(
    scores=st.tuples(SCORES, SCORES, SCORES),
    dials=st.tuples(st.floats(-3.0, 4.0), st.floats(-3.0, 4.0)),
)
def test_a_higher_rest_never_leads_to_a_lower_tier(
    plain: Catalog, scores: tuple[float, ...], dials: tuple[float, float]
) -> None:
    leads = tuple(Lead(2 * rank, score, score) for rank, score in enumerate(scores))
    low, high = (
        decide(replace(plain, calibration=replace(CALIBRATION, dial=dial)), leads).tier.rank
        for dial in sorted(dials)
    )
    assert low <= high
