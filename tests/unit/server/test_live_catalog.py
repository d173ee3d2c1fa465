"""A catalog in service, with vectors that a table gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from tests.conftest import CatalogFolder, eventually

from tierwise_server.live_catalog import FaultyCatalogError, LiveCatalog, RevisionMismatchError
from tierwise_server.watching import keep_current


class Embedding:
    """Gives texts vectors by a seed of their own, and fails when told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.failure: Exception | None = None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns a unit vector for each text."""
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        rows = [np.random.default_rng(sum(text.encode())).normal(size=32) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


@pytest.fixture
def embedding() -> Embedding:
    return Embedding()


@pytest_asyncio.fixture
async def live(catalog: CatalogFolder, embedding: Embedding) -> AsyncIterator[LiveCatalog]:
    one = LiveCatalog("default", catalog.path, embed=embedding, encoder_id="table")
    yield one
    one.close()


def spoil(catalog: CatalogFolder) -> None:
    catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "colour: blue\n")


async def test_unchanged_files_are_not_loaded_again(
    live: LiveCatalog, embedding: Embedding
) -> None:
    before = live.snapshot
    for _ in range(3):
        await live.check_files()
    assert live.snapshot is before
    assert embedding.calls == 1


async def test_an_edit_is_one_load(
    live: LiveCatalog, catalog: CatalogFolder, embedding: Embedding
) -> None:
    before = live.snapshot
    catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.4")
    for _ in range(3):
        await live.check_files()
    assert live.snapshot.revision != before.revision
    assert live.snapshot.catalog.threshold == 0.4
    assert embedding.calls == 2


async def test_the_same_faulty_files_are_looked_into_once(
    live: LiveCatalog, catalog: CatalogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[float] = []
    live.on_check(lambda _, seconds: told.append(seconds))
    spoil(catalog)
    before = live.status.check_time
    for _ in range(3):
        await live.check_files()
    assert len(live.status.faults) == 1
    assert live.status.check_time > before
    assert len(told) == 1
    assert sum("faulty" in one.getMessage() for one in caplog.records) == 1


async def test_every_change_of_state_is_told(live: LiveCatalog, catalog: CatalogFolder) -> None:
    states: list[int] = []
    live.on_check(lambda one, _: states.append(len(one.status.faults)))
    good = catalog.read("catalog.yaml")
    for _ in range(2):
        spoil(catalog)
        await live.check_files()
        catalog.write("catalog.yaml", good)
        await live.check_files()
    assert states == [1, 0, 1, 0]


async def test_reloading_raises_for_faulty_files_and_keeps_the_snapshot(
    live: LiveCatalog, catalog: CatalogFolder
) -> None:
    before = live.snapshot
    spoil(catalog)
    for validate_only in (True, False):
        with pytest.raises(FaultyCatalogError) as caught:
            await live.reload(validate_only=validate_only)
        assert [fault.file for fault in caught.value.faults] == ["catalog.yaml"]
        assert bool(live.status.faults) is not validate_only
    assert live.snapshot is before


async def test_a_mismatch_of_revisions_reads_nothing(
    live: LiveCatalog, catalog: CatalogFolder, embedding: Embedding
) -> None:
    catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.4")
    with pytest.raises(RevisionMismatchError) as caught:
        await live.reload(expected_revision="another")
    assert (caught.value.expected, caught.value.actual) == ("another", live.snapshot.revision)
    assert embedding.calls == 1


async def test_reloads_at_the_same_time_take_turns(
    live: LiveCatalog, catalog: CatalogFolder
) -> None:
    catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.4")
    revision = live.snapshot.revision
    results = await asyncio.gather(*(live.reload() for _ in range(5)))
    befores = [one.before.revision for one in results]
    assert befores.count(revision) == 1
    assert {one.after.revision for one in results} == {live.snapshot.revision}


async def test_a_failure_that_is_not_the_files_fault_is_tried_again(
    live: LiveCatalog, catalog: CatalogFolder, embedding: Embedding
) -> None:
    before = live.snapshot.revision
    embedding.failure = OSError("no space left on device")
    catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.4")
    with pytest.raises(OSError, match="no space"):
        await live.check_files()
    assert live.snapshot.revision == before
    embedding.failure = None
    await live.check_files()
    assert live.snapshot.catalog.threshold == 0.4


async def test_a_failed_look_does_not_end_the_watch(
    live: LiveCatalog,
    catalog: CatalogFolder,
    embedding: Embedding,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop = asyncio.Event()
    watch = asyncio.create_task(keep_current(live, interval_s=0.1, stop=stop))
    try:
        embedding.failure = RuntimeError("can't start new thread")
        catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.4")

        async def has_failed() -> bool:
            return embedding.calls > 1

        await eventually(has_failed)
        embedding.failure = None

        async def is_served() -> bool:
            return live.snapshot.catalog.threshold == 0.4

        await eventually(is_served)
        assert not watch.done()
        assert "can't start new thread" in caplog.text
    finally:
        stop.set()
        await asyncio.wait_for(watch, timeout=10)
