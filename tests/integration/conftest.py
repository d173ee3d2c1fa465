"""One event loop for all tests that talk to a server, so that they can share one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.conftest import MODELS, CatalogFolder, Serve, Served, write_catalog


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


RULES = """\
override:
  - name: review-is-premium
    when: {task_tag: [code-review]}
    then: {tier: premium}
  - name: images-need-vision
    when: {attachments: [image]}
    then: {require: [vision]}
default:
  - name: long-is-premium
    when: {min_characters: 400}
    then: {tier: premium}
"""


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> CatalogFolder:
    """The files of the shared server's default catalog."""
    return write_catalog(tmp_path_factory.mktemp("shared"), rules=RULES, models=MODELS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(
    serve: Serve, shared_folder: CatalogFolder, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """A server for tests that change nothing: `default` with models and rules, `plain` without."""
    plain = write_catalog(tmp_path_factory.mktemp("plain"), default_tier="budget")
    async with serve(
        f"default={shared_folder.path}", f"plain={plain.path}", metrics_listen="127.0.0.1:0"
    ) as served:
        yield served
