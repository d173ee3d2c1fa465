"""A catalog of three tiers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import write_catalog

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog


@pytest.fixture(scope="session")
def small_catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The small catalog, whose default tier is the middle one."""
    folder: Path = tmp_path_factory.mktemp("catalog") / "catalog"
    return load_catalog(write_catalog(folder).path)
