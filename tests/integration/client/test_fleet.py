"""A model that fails one client is avoided by the plans of all others."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import LIKE, StartServe, eventually, write_catalog
from tests.integration.client.conftest import MODEL_OF, MODELS, World

from tierwise import ErrorClass
from tierwise.testing import ProviderServer, Reply


async def test_new_plans_of_other_clients_avoid_a_model_that_fails(
    start_serve: StartServe, tmp_path: Path, providers: ProviderServer
) -> None:
    catalog = write_catalog(tmp_path / "catalog", models=MODELS)
    served = start_serve("--catalog", str(catalog.path), "--ledger", "none")
    address = f"127.0.0.1:{served.port()}"
    one = World(router=address, providers=providers, spool=tmp_path / "one.db")
    other = World(router=address, providers=providers, spool=tmp_path / "other.db")
    providers.always("openai", Reply.error(ErrorClass.SERVER_ERROR))
    async with one.async_client(report_outcomes=True) as unlucky, other.async_client() as bystander:
        before = await bystander.route(LIKE["budget"])
        assert before.model_id == MODEL_OF["openai"]
        answer = await unlucky.chat(LIKE["budget"])
        assert [attempt.model_id for attempt in answer.attempts][-1] == MODEL_OF["mistral"]

        async def avoids_it() -> bool:
            decision = await bystander.route(LIKE["budget"])
            assert decision.plan is not None
            planned = {step.model.model_id for step in decision.plan.steps}
            return MODEL_OF["openai"] not in planned

        await eventually(avoids_it, what="a plan without the failing model")
        calls = len([call for call in providers.calls if call.provider == "openai"])
        assert (await bystander.chat(LIKE["budget"])).model_id == MODEL_OF["mistral"]
        assert len([call for call in providers.calls if call.provider == "openai"]) == calls
