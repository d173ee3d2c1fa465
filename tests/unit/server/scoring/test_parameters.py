import re
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from tierwise_server.scoring import ScorerParameters
from tierwise_server.scoring.parameters import FORMULA


def test_the_id_names_formula_and_version() -> None:
    assert re.fullmatch(rf"{FORMULA}-[0-9a-f]{{8}}", ScorerParameters().scorer_id)


def test_equal_parameters_have_equal_ids() -> None:
    assert ScorerParameters().scorer_id == ScorerParameters().scorer_id


@pytest.mark.parametrize("name", [field.name for field in fields(ScorerParameters)])
def test_every_figure_is_part_of_the_id(name: str) -> None:
    default = getattr(ScorerParameters(), name)
    other = default + 1 if isinstance(default, int) else default * 0.5
    assert ScorerParameters(**{name: other}).scorer_id != ScorerParameters().scorer_id


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shrinkage", 0.0),
        ("shrinkage", 1.01),
        ("sharpness", 0.0),
        ("step_count", -1),
        ("step_size", -0.1),
        ("momentum", 1.0),
        ("utterances_per_step", 0),
        ("saturation", 0),
        ("nearest_weight", 1.1),
        ("nearest_half_at", -1.0),
        ("exact_from", 1.0),
        ("tier_shrinkage", 0.0),
        ("tier_weight", -1.0),
        ("tier_weight", float("nan")),
    ],
)
def test_a_figure_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        ScorerParameters(**{name: value})  # type: ignore[arg-type]


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ScorerParameters().shrinkage = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("counts", "share"),
    [([], 0.0), ([20], 0.2), ([60, 60], 0.3), ([20, 60], 0.25), ([60, 20], 0.25), ([5], 0.08)],
)
def test_the_nearest_utterance_counts_for_more_where_tasks_have_many(
    counts: list[int], share: float
) -> None:
    parameters = ScorerParameters(nearest_weight=0.4, nearest_half_at=20.0)
    assert parameters.nearest_share(np.array(counts, dtype=np.int64)) == pytest.approx(share)


def test_without_a_half_the_nearest_utterance_counts_alike_everywhere() -> None:
    parameters = ScorerParameters(nearest_weight=0.4, nearest_half_at=0.0)
    assert parameters.nearest_share(np.array([1, 500])) == pytest.approx(0.4)
