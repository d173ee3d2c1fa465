"""The catalog as callers see it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    UTTERANCES,
    CatalogFolder,
    Serve,
    Served,
    refused,
)

from tierwise.v1.catalog_service_pb2 import (
    CatalogState,
    GetCatalogRequest,
    GetCatalogStatusRequest,
    ListModelsRequest,
    ListTiersRequest,
    ReloadCatalogRequest,
)
from tierwise.v1.model_pb2 import Capability
from tierwise_server.encoder.onnx_encoder import OnnxEncoder


async def list_tiers(served: Served, **fields: Any) -> Any:  # noqa: ANN401 - fields of a message
    return await served.catalogs.ListTiers(ListTiersRequest(**fields), timeout=CALL_TIMEOUT_S)


async def list_models(served: Served, **fields: Any) -> Any:  # noqa: ANN401 - fields of a message
    return await served.catalogs.ListModels(ListModelsRequest(**fields), timeout=CALL_TIMEOUT_S)


async def test_the_catalog_is_summed_up(shared: Served, encoder: OnnxEncoder) -> None:
    response = await shared.catalogs.GetCatalog(GetCatalogRequest(), timeout=CALL_TIMEOUT_S)
    catalog = response.catalog
    assert catalog.name == "default"
    assert catalog.encoder_id == encoder.encoder_id
    assert list(catalog.tier_ids) == ["budget", "mid", "premium"]
    assert catalog.default_tier_id == "mid"
    assert (catalog.score_threshold, catalog.tie_margin) == (0.3, 0.02)
    assert (catalog.task_count, catalog.utterance_count) == (6, 30)
    assert (catalog.rule_count, catalog.model_count) == (3, 3)
    decision = await shared.route("anything")
    assert catalog.revision == decision.catalog_revision
    assert catalog.load_time.seconds > 1_600_000_000


async def test_the_baseline_is_the_dearest_model_of_the_top_tier(shared: Served) -> None:
    response = await shared.catalogs.GetCatalog(GetCatalogRequest(), timeout=CALL_TIMEOUT_S)
    assert response.catalog.baseline_model_id == "big-thinker"
    plain = GetCatalogRequest(catalog="plain")
    response = await shared.catalogs.GetCatalog(plain, timeout=CALL_TIMEOUT_S)
    assert response.catalog.baseline_model_id == ""


async def test_tiers_are_listed_cheapest_first_with_their_tasks(
    shared: Served, shared_folder: CatalogFolder
) -> None:
    response = await list_tiers(shared)
    assert response.next_page_token == ""
    assert [(one.tier_id, one.rank) for one in response.tiers] == [
        ("budget", 0),
        ("mid", 1),
        ("premium", 2),
    ]
    for tier in response.tiers:
        assert tier.model_count == 1
        assert [task.task_id for task in tier.tasks] == list(UTTERANCES[tier.tier_id])
        for task in tier.tasks:
            assert task.utterance_count == 5
            assert task.score_threshold == 0.3
            assert task.description == f"About {task.task_id}."
            line = shared_folder.line(task.source_file, task.source_line)
            assert line == f"  {task.task_id}:"


async def test_pages_together_are_the_list(shared: Served) -> None:
    token, seen = "", []
    for _ in range(3):
        response = await list_tiers(shared, page_size=1, page_token=token)
        seen += [tier.tier_id for tier in response.tiers]
        token = response.next_page_token
    assert seen == ["budget", "mid", "premium"]
    assert token == ""


async def test_a_token_of_another_revision_is_aborted(shared: Served) -> None:
    token = (await list_tiers(shared, page_size=1, catalog="plain")).next_page_token
    answer = await refused(list_tiers(shared, page_size=1, page_token=token))
    assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "REVISION_MISMATCH")
    assert answer.metadata["expected_revision"] != answer.metadata["actual_revision"]


async def test_a_token_dies_with_an_edit(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog) as served:
        token = (await list_tiers(served, page_size=2)).next_page_token
        catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.31")
        await served.catalogs.ReloadCatalog(ReloadCatalogRequest(), timeout=CALL_TIMEOUT_S)
        answer = await refused(list_tiers(served, page_size=2, page_token=token))
        assert answer.code is grpc.StatusCode.ABORTED


@pytest.mark.parametrize("listing", [list_tiers, list_models])
@pytest.mark.parametrize(
    "fields", [{"page_size": -1}, {"page_token": "nonsense"}], ids=["size", "token"]
)
async def test_a_page_that_cannot_be_names_the_field(
    shared: Served,
    listing: Any,  # noqa: ANN401 - either of the two
    fields: dict[str, Any],
) -> None:
    answer = await refused(listing(shared, **fields))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == tuple(fields)


async def test_models_are_listed_by_id(shared: Served) -> None:
    response = await list_models(shared)
    assert [model.model_id for model in response.models] == ["big-thinker", "middle", "small-fast"]
    big, middle, small = response.models
    assert (small.provider_id, small.upstream_name, small.tier_id) == (
        "openai",
        "small-1",
        "budget",
    )
    assert (small.context_window_token_count, small.output_limit_token_count) == (128_000, 16_000)
    assert set(small.capabilities) == {
        Capability.CAPABILITY_TOOLS,
        Capability.CAPABILITY_JSON_SCHEMA,
        Capability.CAPABILITY_VISION,
    }
    assert dict(small.labels) == {"region": "eu"}
    assert not small.HasField("quality")
    assert middle.quality == 0.8
    assert middle.request_limit_per_minute == 1_000
    assert not middle.HasField("token_limit_per_minute")
    assert Capability.CAPABILITY_REASONING in big.capabilities


async def test_models_show_their_prices(shared: Served) -> None:
    small = (await list_models(shared)).models[2]
    assert small.price.input_nano_usd_per_million == 150_000_000
    assert small.price.output_nano_usd_per_million == 600_000_000
    assert not small.price.HasField("cached_input_nano_usd_per_million")
    assert small.price.call_nano_usd == 0


async def test_a_catalog_without_models_lists_none(shared: Served) -> None:
    assert list((await list_models(shared, catalog="plain")).models) == []


async def test_a_catalog_that_is_as_its_files_is_current(shared: Served) -> None:
    status = await shared.catalogs.GetCatalogStatus(
        GetCatalogStatusRequest(), timeout=CALL_TIMEOUT_S
    )
    assert status.state == CatalogState.CATALOG_STATE_CURRENT
    assert list(status.faults) == []
    assert status.check_time.ToNanoseconds() >= status.load_time.ToNanoseconds()


@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("GetCatalog", GetCatalogRequest),
        ("GetCatalogStatus", GetCatalogStatusRequest),
        ("ListTiers", ListTiersRequest),
        ("ListModels", ListModelsRequest),
        ("ReloadCatalog", ReloadCatalogRequest),
    ],
)
async def test_an_unknown_catalog_is_not_found(
    shared: Served,
    method: str,
    request_type: Any,  # noqa: ANN401 - a message class
) -> None:
    call = getattr(shared.catalogs, method)
    answer = await refused(call(request_type(catalog="nope"), timeout=CALL_TIMEOUT_S))
    assert (answer.code, answer.reason) == (grpc.StatusCode.NOT_FOUND, "CATALOG_NOT_FOUND")
    assert answer.metadata == {"field": "catalog", "catalog": "nope"}
    assert "default, plain" in answer.message


async def test_status_tells_how_many_decisions_compared_nothing(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog) as served:
        await served.route(LIKE["budget"])
        await served.route(LIKE["budget"])
        await served.route(LIKE["budget"], rules_only=True)
        await served.route("¿Cuánto cuesta un billete a Madrid y a qué hora sale el último tren?")
        status = await served.catalogs.GetCatalogStatus(
            GetCatalogStatusRequest(), timeout=CALL_TIMEOUT_S
        )
        assert (status.decision_count, status.decision_without_index_count) == (4, 2)
        value = served.server.telemetry.registry.get_sample_value(
            "tierwise_decisions_without_index_total", {"catalog": "default", "kind": "DEFAULT"}
        )
        assert value == 2
