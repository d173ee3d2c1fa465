"""What is served of a catalog."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from tests.conftest import write_catalog

from tierwise_server.catalog.faults import CatalogInvalidError, FaultRule
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.commands import check
from tierwise_server.snapshot import price_models

MODELS = """models:
  - id: {tier}-model
    provider: openai
    name: no-such-model-of-theirs
    tier: {tier}
    price: {price}
    context_window: 1000
    max_output_tokens: 100
    capabilities: [tools]
"""
TODAY = datetime.date(2026, 11, 22)


def models(**prices: str) -> str:
    """Returns a registry of one model for each tier."""
    entries = [MODELS.format(tier=tier, price=price) for tier, price in prices.items()]
    return entries[0] + "".join(entry.partition("\n")[2] for entry in entries[1:])


def test_a_model_that_the_price_list_does_not_know_is_a_fault_with_its_line(tmp_path: Path) -> None:
    write_catalog(tmp_path / "c", models=models(budget="unknown", mid="catalog", premium="unknown"))
    with pytest.raises(CatalogInvalidError) as caught:
        price_models(load_catalog(tmp_path / "c"), TODAY)
    (fault,) = caught.value.faults
    assert fault.rule is FaultRule.UNUSABLE_PRICE
    assert fault.file == "models.yaml"
    assert fault.line == 10


def test_check_reports_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_catalog(tmp_path / "c", models=models(budget="unknown", mid="catalog", premium="unknown"))
    assert check.main([str(tmp_path / "c")]) == 1
    assert "models.yaml:10" in capsys.readouterr().out


def test_the_day_of_a_stated_price_is_its_date(tmp_path: Path) -> None:
    stated = "{input: 1, output: 2, as_of: 2026-01-31}"
    write_catalog(tmp_path / "c", models=models(budget=stated, mid="unknown", premium="unknown"))
    registry = price_models(load_catalog(tmp_path / "c"), TODAY)
    price = registry.models[0].price
    assert price is not None
    assert price.source_date == datetime.date(2026, 1, 31)
