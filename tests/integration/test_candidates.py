"""Candidates beside a catalog: compared on real calls, given to a share of callers, taken over."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    LIKE_NOTHING,
    MODELS,
    CatalogFolder,
    Serve,
    Served,
    eventually,
    run_tierwise,
    write_catalog,
)

from tierwise.v1.catalog_service_pb2 import CandidateState, GetCandidateStatusRequest
from tierwise.v1.decision_pb2 import CatalogArm
from tierwise.v1.routing_input_pb2 import Constraints, RoutingInput
from tierwise.v1.routing_service_pb2 import BatchRoutePromptsRequest
from tierwise_server.candidates.promotion import PromotionError, look_at, promote

NEVER_S = 3_600.0
CANDIDATE, LIVE = CatalogArm.CATALOG_ARM_CANDIDATE, CatalogArm.CATALOG_ARM_LIVE


async def status_of(served: Served) -> Any:  # noqa: ANN401 - a response
    request = GetCandidateStatusRequest()
    return await served.catalogs.GetCandidateStatus(request, timeout=CALL_TIMEOUT_S)


def counts(status: Any) -> dict[tuple[str, str, str], int]:  # noqa: ANN401 - a response
    return {
        (one.task_id, one.tier_id, one.candidate_tier_id): one.decision_count
        for one in status.differences
    }


def has_compared(served: Served, count: int) -> Callable[[], Any]:
    async def holds() -> bool:
        return sum(counts(await status_of(served)).values()) == count

    return holds


def is_in_state(served: Served, state: int) -> Callable[[], Any]:
    async def holds() -> bool:
        return bool((await status_of(served)).state == state)

    return holds


@pytest.fixture
def live(tmp_path: Path) -> CatalogFolder:
    return write_catalog(tmp_path / "catalog", models=MODELS)


@pytest.fixture
def candidate(live: CatalogFolder) -> CatalogFolder:
    """The same files, but what is no task goes to the budget tier, and sql is the premium's."""
    folder = CatalogFolder(live.path.parent / "candidate")
    shutil.copytree(live.path, folder.path)
    folder.replace("catalog.yaml", "default_tier: mid", "default_tier: budget")
    return folder


async def test_every_decision_is_compared_after_it_was_answered(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder
) -> None:
    async with serve(live, candidate=(str(candidate.path),), reload_interval_s=NEVER_S) as served:
        first = await served.route(LIKE["budget"])
        assert first.arm == CatalogArm.CATALOG_ARM_UNSPECIFIED
        await served.route(LIKE_NOTHING)
        await served.route(LIKE_NOTHING)
        inputs = [RoutingInput(prompt=prompt) for prompt in (LIKE["premium"], LIKE_NOTHING)]
        await served.routing.BatchRoutePrompts(
            BatchRoutePromptsRequest(inputs=inputs), timeout=CALL_TIMEOUT_S
        )
        await served.route("say nothing of me", keep_nothing=True)
        # A pin that needs no vector.
        await served.route("x", constraints=Constraints(pinned_tier_id="mid"))
        await eventually(has_compared(served, 6))
        status = await status_of(served)
        assert status.state == CandidateState.CANDIDATE_STATE_COMPARED
        assert status.revision == first.catalog_revision != status.candidate_revision
        assert counts(status) == {
            ("", "mid", "budget"): 3,
            ("", "mid", "mid"): 1,
            ("summarization", "budget", "budget"): 1,
            ("architecture", "premium", "premium"): 1,
        }
        (moved,) = (one for one in status.differences if one.candidate_tier_id != one.tier_id)
        assert moved.priced_count == 3
        assert 0 < moved.candidate_cost_nano_usd < moved.cost_nano_usd
        assert dict(status.uncompared_counts) == {"keep-nothing": 1}
        registry = served.server.telemetry.registry
        labels = {"catalog": "default", "task": "", "tier": "mid", "candidate_tier": "budget"}
        assert registry.get_sample_value("tierwise_candidate_decisions_total", labels) == 3
        # Callers were decided for by what is in service alone.
        revisions = {
            "catalog": "default",
            "tier": "budget",
            "kind": "DEFAULT",
            "model": "small-fast",
        }
        assert registry.get_sample_value("tierwise_decisions_total", revisions) is None


async def test_words_that_only_one_catalog_knows_are_embedded_as_each_spells_them(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder
) -> None:
    text = candidate.read("tiers/premium.yaml")
    lines = "".join(
        f"      - {line}\n"
        for line in ("reconcile the quarterly ledgers", "reconcile ledgers of both banks")
    )
    candidate.write(
        "tiers/premium.yaml", f"{text}  books:\n    description: d\n    utterances:\n{lines}"
    )
    async with serve(live, candidate=(str(candidate.path),), reload_interval_s=NEVER_S) as served:
        await served.route("reconclie the quarterly ledgers")
        await eventually(has_compared(served, 1))
        ((_, _, tier),) = counts(await status_of(served))
        assert tier == "premium"


async def test_a_candidate_comes_changes_and_goes_while_the_catalog_serves(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder
) -> None:
    aside = candidate.path.with_name("aside")
    candidate.path.rename(aside)
    async with serve(live, candidate=(str(candidate.path),), reload_interval_s=0.1) as served:
        status = await status_of(served)
        assert status.state == CandidateState.CANDIDATE_STATE_ABSENT
        revision = status.revision
        aside.rename(candidate.path)
        await eventually(is_in_state(served, CandidateState.CANDIDATE_STATE_COMPARED))
        await served.route(LIKE_NOTHING)
        await eventually(has_compared(served, 1))
        # An edit begins anew.
        candidate.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.31")

        async def is_anew() -> bool:
            return not counts(await status_of(served))

        await eventually(is_anew)
        # A faulty one leaves the candidate before it.
        good = candidate.read("tiers/mid.yaml")
        candidate.write("tiers/mid.yaml", "tier: mid\ntasks: {sql: 3}\n")
        await eventually(is_in_state(served, CandidateState.CANDIDATE_STATE_FAULTY_FILES))
        faulty = await status_of(served)
        assert faulty.faults[0].source_file == "tiers/mid.yaml"
        assert faulty.candidate_revision
        candidate.write("tiers/mid.yaml", good)
        # Equal files are nothing to compare.
        for file in ("catalog.yaml",):
            candidate.write(file, live.read(file))
        await eventually(is_in_state(served, CandidateState.CANDIDATE_STATE_SAME))
        shutil.rmtree(candidate.path)
        await eventually(is_in_state(served, CandidateState.CANDIDATE_STATE_ABSENT))
        assert (await status_of(served)).revision == revision
        assert (await served.route(LIKE["premium"])).tier_id == "premium"


async def test_a_share_of_the_callers_is_decided_for_by_the_candidate(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder
) -> None:
    share = 0.3
    settings = {"candidate": (str(candidate.path),), "canary_share": share}
    async with serve(live, **settings, reload_interval_s=NEVER_S) as served:
        status = await status_of(served)
        arms = {}
        for number in range(200):
            decision = await served.route(LIKE_NOTHING, affinity_key=f"user-{number}")
            arms[number] = decision.arm
            is_candidate = decision.arm == CANDIDATE
            assert decision.tier_id == ("budget" if is_candidate else "mid")
            assert decision.propensity == pytest.approx(share if is_candidate else 1 - share)
            expected = status.candidate_revision if is_candidate else status.revision
            assert decision.catalog_revision == expected
        assert set(arms.values()) == {CANDIDATE, LIVE}
        # Three standard deviations about 60.
        assert 40 <= list(arms.values()).count(CANDIDATE) <= 80
        # Whatever the prompt is, a key keeps its arm; without a key, the caller does.
        again = await served.route(LIKE["budget"], affinity_key="user-7")
        assert again.arm == arms[7]
        callers = [(await served.route(text, caller="app")).arm for text in LIKE.values()]
        assert len(set(callers)) == 1
        await eventually(has_compared(served, 204))
        status = await status_of(served)
        assert status.live_decision_count + status.candidate_decision_count == 204
        # Whoever decided, both sides are told apart.
        assert counts(status)["", "mid", "budget"] == 200


async def test_what_the_candidate_does_not_know_the_catalog_decides(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder
) -> None:
    candidate.replace("models.yaml", "id: big-thinker", "id: other-thinker")
    settings = {"candidate": (str(candidate.path),), "canary_share": 1.0}
    async with serve(live, **settings, reload_interval_s=NEVER_S) as served:
        assert (await served.route(LIKE["mid"])).arm == CANDIDATE
        pinned = await served.route("x", constraints=Constraints(pinned_model_id="big-thinker"))
        assert (pinned.arm, pinned.model_id, pinned.propensity) == (LIVE, "big-thinker", 1.0)
        only = Constraints(allowed_model_ids=["big-thinker"])
        allowed = await served.route(LIKE["premium"], constraints=only)
        assert (allowed.arm, allowed.model_id) == (LIVE, "big-thinker")

        async def has_failed() -> bool:
            return (await status_of(served)).uncompared_counts["failed"] == 2

        await eventually(has_failed)


async def command(*words: str) -> Any:  # noqa: ANN401 - a finished process
    return await asyncio.to_thread(run_tierwise, "candidate", *words, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("is_linked", [False, True])
async def test_a_candidate_is_promoted_at_once_and_what_was_there_stays_beside(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder, is_linked: bool
) -> None:
    live.path.joinpath("README.txt").write_text("ours")
    served_path = live.path
    if is_linked:
        served_path = live.path.with_name("current")
        served_path.symlink_to(live.path)
    candidate.write("cases/basics.yaml", "- {prompt: tl;dr of the thread, tier: budget}\n")
    before = live.read("catalog.yaml")
    async with serve(
        str(served_path), candidate=(str(candidate.path),), reload_interval_s=NEVER_S
    ) as served:
        assert (await served.route(LIKE_NOTHING)).tier_id == "mid"
        await eventually(has_compared(served, 1))
        server = ("--server", served.address)
        shown = await command("status", *server)
        assert "1 decisions by both" in shown.stdout
        assert "(no task): 1 of 1 to another tier" in shown.stdout
        assert "mid -> budget: 1, expected cost: $" in shown.stdout
        folders = (str(candidate.path), str(served_path))
        # Nobody has said yes.
        silent = await command("promote", *folders, *server)
        assert silent.returncode == 1
        assert "--yes" in silent.stderr
        assert live.read("catalog.yaml") == before
        done = await command("promote", *folders, *server, "--yes")
        assert done.returncode == 0, done.stderr
        assert "added    cases/basics.yaml" in done.stdout
        assert "changed  catalog.yaml" in done.stdout

        async def is_promoted() -> bool:
            return (await served.route(LIKE_NOTHING)).tier_id == "budget"

        await eventually(is_promoted)
        await eventually(is_in_state(served, CandidateState.CANDIDATE_STATE_SAME))
        assert (served_path / "README.txt").read_text() == "ours"
        assert served_path.is_symlink() is is_linked
        kept = Path(done.stdout.split()[-1])
        assert (kept / "catalog.yaml").read_text() == before
        assert not [one for one in live.path.parent.iterdir() if one.name.startswith(".")]
        gone = await command("drop", str(candidate.path), "--yes")
        assert gone.returncode == 0, gone.stderr
        await eventually(is_in_state(served, CandidateState.CANDIDATE_STATE_ABSENT))
        # The watch holds on to the new folder.
        CatalogFolder(served_path).replace(
            "catalog.yaml", "default_tier: budget", "default_tier: mid"
        )

        async def is_back() -> bool:
            return (await served.route(LIKE_NOTHING)).tier_id == "mid"

        await eventually(is_back)


async def test_what_was_not_compared_is_not_promoted(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder
) -> None:
    async with serve(live, candidate=(str(candidate.path),), reload_interval_s=NEVER_S) as served:
        await served.route(LIKE_NOTHING)
        other = write_catalog(live.path.parent / "other", default_tier="budget")
        words = (str(live.path), "--server", served.address, "--yes")
        refused = await command("promote", str(other.path), *words)
        assert refused.returncode == 1
        assert "not what the server compares" in refused.stderr
        unserved = await command("promote", str(candidate.path), str(other.path), *words[1:])
        assert unserved.returncode == 1
        assert "not what the server serves" in unserved.stderr


def test_a_folder_that_changes_meanwhile_stays_as_it_is(
    live: CatalogFolder, candidate: CatalogFolder
) -> None:
    promotion = look_at(candidate.path, live.path)
    live.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.35")
    with pytest.raises(PromotionError, match="changed meanwhile"):
        promote(promotion)
    assert "0.35" in live.read("catalog.yaml")
    assert sorted(one.name for one in live.path.parent.iterdir()) == ["candidate", "catalog"]


def test_faulty_or_equal_candidates_are_not_promoted(
    live: CatalogFolder, candidate: CatalogFolder
) -> None:
    candidate.write("catalog.yaml", live.read("catalog.yaml"))
    with pytest.raises(PromotionError, match="same files"):
        look_at(candidate.path, live.path)
    with pytest.raises(PromotionError, match="one folder"):
        look_at(live.path, live.path)
    candidate.write("catalog.yaml", "tiers: [budget]\n")
    with pytest.raises(PromotionError, match="has faults"):
        look_at(candidate.path, live.path)


async def test_a_candidate_that_fails_the_self_test_decides_for_nobody(
    serve: Serve, live: CatalogFolder, candidate: CatalogFolder
) -> None:
    case = f"- {{prompt: {LIKE['budget']!r}, tier: TIER}}\n"
    live.write("cases/basics.yaml", case.replace("TIER", "budget"))
    candidate.write("cases/basics.yaml", case.replace("TIER", "premium"))
    settings = {"candidate": (str(candidate.path),), "canary_share": 1.0, "self_test_bar": 0.9}
    async with serve(live, **settings, reload_interval_s=NEVER_S) as served:
        assert await served.health_of("") == "SERVING"
        decision = await served.route(LIKE_NOTHING)
        assert (decision.tier_id, decision.arm) == ("mid", CatalogArm.CATALOG_ARM_UNSPECIFIED)
        await eventually(has_compared(served, 1))
        words = (str(candidate.path), str(live.path), "--server", served.address, "--yes")
        refused = await command("promote", *words)
        assert refused.returncode == 1
        assert "the server refuses the candidate: cases:1: The self-test" in refused.stderr
