"""The tiers that a request allows, and what contradicts the catalog or itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import MODELS, write_catalog

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.bounds import TierBounds, check_request
from tierwise_server.deciding.errors import (
    InvalidFieldsError,
    UnknownModelError,
    UnknownTierError,
)
from tierwise_server.deciding.request import Constraints, RequiredQuality, RoutingRequest

LOW, MEDIUM, HIGH = RequiredQuality.LOW, RequiredQuality.MEDIUM, RequiredQuality.HIGH


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Tiers budget, mid and premium with a model each."""
    folder = tmp_path_factory.mktemp("catalog")
    return load_catalog(write_catalog(folder, models=MODELS).path)


def catalog_of(count: int, folder: Path) -> Catalog:
    """Returns a catalog of so many tiers, t0 the cheapest."""
    tiers = {f"t{rank}": {f"task-{rank}": (f"do thing {rank}",)} for rank in range(count)}
    return load_catalog(write_catalog(folder, utterances=tiers, default_tier="t0").path)


def bounds(catalog: Catalog, **limits: object) -> tuple[int, int]:
    found = check_request(catalog, RoutingRequest(constraints=Constraints(**limits)))  # type: ignore[arg-type]
    return found.lowest, found.highest


def fault_fields(catalog: Catalog, **limits: object) -> list[str]:
    with pytest.raises(InvalidFieldsError) as caught:
        bounds(catalog, **limits)
    return [fault.field for fault in caught.value.faults]


def test_a_request_without_limits_allows_every_tier(catalog: Catalog) -> None:
    assert check_request(catalog, RoutingRequest()) == TierBounds(lowest=0, highest=2)
    assert bounds(catalog) == (0, 2)


@pytest.mark.parametrize(
    ("count", "quality", "lowest"),
    [
        (1, LOW, 0), (1, MEDIUM, 0), (1, HIGH, 0),
        (2, LOW, 0), (2, MEDIUM, 1), (2, HIGH, 1),
        (3, LOW, 0), (3, MEDIUM, 1), (3, HIGH, 2),
        (4, LOW, 0), (4, MEDIUM, 2), (4, HIGH, 3),
        (5, LOW, 0), (5, MEDIUM, 2), (5, HIGH, 4),
    ],
)  # fmt: skip
def test_required_quality_sets_the_lowest_tier(
    count: int, quality: RequiredQuality, lowest: int, tmp_path: Path
) -> None:
    assert bounds(catalog_of(count, tmp_path), required_quality=quality) == (lowest, count - 1)


def test_lowest_and_highest_tier_bound_the_choice(catalog: Catalog) -> None:
    assert bounds(catalog, lowest_tier="mid") == (1, 2)
    assert bounds(catalog, highest_tier="mid") == (0, 1)
    assert bounds(catalog, lowest_tier="mid", highest_tier="mid") == (1, 1)


@pytest.mark.parametrize(
    ("lowest", "quality", "expected"),
    [("budget", HIGH, 2), ("premium", MEDIUM, 2), ("mid", MEDIUM, 1)],
)
def test_the_stricter_of_two_lower_bounds_holds(
    catalog: Catalog, lowest: str, quality: RequiredQuality, expected: int
) -> None:
    assert bounds(catalog, lowest_tier=lowest, required_quality=quality) == (expected, 2)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"lowest_tier": "premium", "highest_tier": "mid"}, "lowest_tier_id"),
        ({"required_quality": HIGH, "highest_tier": "mid"}, "required_quality"),
        (
            {"required_quality": HIGH, "lowest_tier": "mid", "highest_tier": "mid"},
            "required_quality",
        ),
        ({"pinned_tier": "budget", "lowest_tier": "mid"}, "pinned_tier_id"),
        ({"pinned_tier": "premium", "highest_tier": "mid"}, "pinned_tier_id"),
        ({"pinned_tier": "budget", "required_quality": MEDIUM}, "pinned_tier_id"),
        ({"pinned_model": "small-fast", "lowest_tier": "mid"}, "pinned_model_id"),
        ({"pinned_model": "small-fast", "denied_models": frozenset({"small-fast"})},
         "denied_model_ids"),
        ({"pinned_model": "small-fast", "allowed_models": frozenset({"middle"})},
         "pinned_model_id"),
        (
            {"allowed_models": frozenset({"middle"}), "denied_models": frozenset({"middle"})},
            "denied_model_ids",
        ),
        (
            {"allowed_providers": frozenset({"openai"}), "denied_providers": frozenset({"openai"})},
            "denied_provider_ids",
        ),
    ],
)  # fmt: skip
def test_a_contradiction_names_the_field(
    catalog: Catalog, limits: dict[str, object], field: str
) -> None:
    assert fault_fields(catalog, **limits) == [f"constraints.{field}"]


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"pinned_tier": "gold"}, "pinned_tier_id"),
        ({"lowest_tier": "gold"}, "lowest_tier_id"),
        ({"highest_tier": "Mid"}, "highest_tier_id"),
    ],
)
def test_a_limit_of_an_unknown_tier_names_field_and_tier(
    catalog: Catalog, limits: dict[str, str], field: str
) -> None:
    with pytest.raises(UnknownTierError) as caught:
        bounds(catalog, **limits)
    assert caught.value.field == f"constraints.{field}"
    assert caught.value.tier == next(iter(limits.values()))
    assert caught.value.known == ("budget", "mid", "premium")


@pytest.mark.parametrize("field", ["previous_tier", "expected_tier"])
def test_tiers_beside_the_limits_must_be_known_as_well(catalog: Catalog, field: str) -> None:
    with pytest.raises(UnknownTierError) as caught:
        check_request(catalog, RoutingRequest(**{field: "gold"}))  # type: ignore[arg-type]
    assert caught.value.field == f"{field}_id"


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"pinned_model": "nobody"}, "pinned_model_id"),
        ({"allowed_models": frozenset({"middle", "nobody"})}, "allowed_model_ids"),
        ({"denied_models": frozenset({"nobody"})}, "denied_model_ids"),
    ],
)
def test_an_unknown_model_names_field_and_model(
    catalog: Catalog, limits: dict[str, object], field: str
) -> None:
    with pytest.raises(UnknownModelError) as caught:
        bounds(catalog, **limits)
    assert (caught.value.field, caught.value.model) == (f"constraints.{field}", "nobody")


@pytest.mark.parametrize("labels", [{"region": "mars"}, {"colour": "eu"}])
def test_a_label_that_no_model_carries_is_taken_for_a_typing_error(
    catalog: Catalog, labels: dict[str, str]
) -> None:
    (key,) = labels
    assert fault_fields(catalog, required_labels=labels) == [
        f"constraints.required_labels[{key!r}]"
    ]


def test_labels_that_models_carry_are_fine(catalog: Catalog) -> None:
    assert bounds(catalog, required_labels={"region": "us"}) == (0, 2)


def test_clamping_moves_a_rank_to_the_nearest_bound() -> None:
    span = TierBounds(lowest=1, highest=2)
    assert [span.clamp(rank) for rank in range(5)] == [1, 1, 2, 2, 2]
