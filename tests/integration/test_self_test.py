"""The self-test: a catalog that fails its own cases is not ready, or does not go into service."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    LIKE_NOTHING,
    CatalogFolder,
    Serve,
    Served,
    eventually,
    write_catalog,
)

from tierwise.v1.catalog_service_pb2 import (
    CatalogState,
    GetCatalogStatusRequest,
    ReloadCatalogRequest,
)
from tierwise_server.grpc_api.app import health_name

RIGHT = "".join(f"- {{prompt: {prompt!r}, tier: {tier}}}\n" for tier, prompt in LIKE.items())
RIGHT += f"- {{prompt: {LIKE_NOTHING!r}, tier: none}}\n"
WRONG = RIGHT.replace("tier: premium", "tier: budget").replace("tier: mid", "tier: budget")
NEVER_S = 3_600.0


async def status_of(served: Served, name: str = "") -> Any:  # noqa: ANN401 - a response
    request = GetCatalogStatusRequest(catalog=name)
    return await served.catalogs.GetCatalogStatus(request, timeout=CALL_TIMEOUT_S)


@pytest.fixture
def tested(catalog: CatalogFolder) -> CatalogFolder:
    catalog.write("cases/basics.yaml", RIGHT)
    return catalog


async def test_a_catalog_that_fails_its_cases_is_not_ready_until_it_is_mended(
    serve: Serve, tested: CatalogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    tested.write("cases/basics.yaml", WRONG)
    plain = write_catalog(tested.path.parent / "plain", cases=RIGHT)
    folders = (f"default={tested.path}", f"plain={plain.path}")
    async with serve(*folders, self_test_bar=0.9, reload_interval_s=NEVER_S) as served:
        assert await served.health_of("") == "NOT_SERVING"
        assert await served.health_of(health_name("default")) == "NOT_SERVING"
        assert await served.health_of(health_name("plain")) == "SERVING"
        lines = [one for one in caplog.records if "self-test" in one.getMessage()]
        assert len(lines) == 1
        assert "2 of 4 cases" in lines[0].faults[0]  # type: ignore[attr-defined]
        status = await status_of(served)
        assert status.state == CatalogState.CATALOG_STATE_FAULTY_FILES
        (fault,) = status.faults
        assert fault.rule == "self-test"
        assert "0.500, below 0.9" in fault.message
        assert "cases/basics.yaml:" in fault.message

        tested.write("cases/basics.yaml", RIGHT)

        async def is_ready() -> bool:
            return await served.health_of("") == "SERVING"

        await eventually(is_ready)
        assert (await status_of(served)).state == CatalogState.CATALOG_STATE_CURRENT


async def test_an_edit_below_the_bar_leaves_the_revision_before_in_service(
    serve: Serve, tested: CatalogFolder
) -> None:
    async with serve(tested, self_test_bar=0.9, reload_interval_s=NEVER_S) as served:
        before = (await status_of(served)).revision
        assert await served.health_of("") == "SERVING"
        # Swaps the tasks of two tiers, so that half of the cases go wrong.
        budget, premium = map(tested.read, ("tiers/budget.yaml", "tiers/premium.yaml"))
        tested.write("tiers/budget.yaml", premium.replace("tier: premium", "tier: budget"))
        tested.write("tiers/premium.yaml", budget.replace("tier: budget", "tier: premium"))
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await served.catalogs.ReloadCatalog(ReloadCatalogRequest(), timeout=CALL_TIMEOUT_S)
        assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        status = await status_of(served)
        assert status.revision == before
        assert [one.rule for one in status.faults] == ["self-test"]
        assert (await served.route(LIKE["premium"])).tier_id == "premium"
        # It serves well what it served before.
        assert await served.health_of("") == "SERVING"


async def test_without_cases_there_is_nothing_to_pass(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog, self_test_bar=0.5) as served:
        (fault,) = (await status_of(served)).faults
        assert "needs cases" in fault.message
        assert await served.health_of("") == "NOT_SERVING"
