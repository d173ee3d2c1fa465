"""The shipped catalog loads, and routes its held-out cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPOSITORY, run_tierwise

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.encoder.artifact import read_manifest

SHIPPED = REPOSITORY / "utterances"

MIN_ACCURACY = 0.93
"""Share of the held-out cases that the shipped catalog has to route right."""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(SHIPPED)


@pytest.fixture(scope="module")
def figures(encoder_dir: Path) -> Mapping[str, Any]:
    """What `tierwise evaluate` says of the cases."""
    # A cache that outlives the run: embedding all utterances takes longer than all else here.
    cache = REPOSITORY / ".cache" / "tests"
    env = {"TIERWISE_CACHE_DIR": str(cache), "TIERWISE_ENCODER": str(encoder_dir)}
    ended = run_tierwise("evaluate", "--json", "--catalog", str(SHIPPED), env=env)
    assert ended.returncode == 0, ended.stderr
    answer: Mapping[str, Any] = json.loads(ended.stdout)
    return answer


def test_the_tiers_are_the_documented_ones(catalog: Catalog) -> None:
    assert [tier.id for tier in catalog.tiers] == ["budget", "mid", "premium"]


def test_the_thresholds_were_tuned_for_the_default_encoder(
    catalog: Catalog, encoder_dir: Path
) -> None:
    assert catalog.encoder == read_manifest(encoder_dir).model_id


def test_every_tier_has_cases_and_some_must_match_nothing(catalog: Catalog) -> None:
    expected = {case.tier for case in catalog.cases}
    assert expected == {None, *(tier.id for tier in catalog.tiers)}


def test_the_held_out_cases_are_routed_right(catalog: Catalog, figures: Mapping[str, Any]) -> None:
    assert figures["all"]["count"] == len(catalog.cases)
    assert figures["all"]["accuracy"] >= MIN_ACCURACY, figures["all"]


def test_the_calibration_is_current_where_there_is_one(encoder_dir: Path) -> None:
    """Where this fails, utterances, cases or settings were edited since: `make calibrate YES=1`."""
    cache = REPOSITORY / ".cache" / "tests"
    env = {"TIERWISE_CACHE_DIR": str(cache), "TIERWISE_ENCODER": str(encoder_dir)}
    ended = run_tierwise("calibrate", "--check", "--catalog", str(SHIPPED), env=env)
    assert ended.returncode == 0, ended.stdout + ended.stderr
