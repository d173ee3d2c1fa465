"""Editing files while they are served: each edit shows, and no call notices the change."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
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
    eventually,
    refused,
    write_catalog,
)

from tierwise.v1.catalog_service_pb2 import (
    CatalogState,
    GetCatalogStatusRequest,
    ReloadCatalogRequest,
    TaskChangeKind,
)
from tierwise.v1.decision_pb2 import DecisionKind
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    BatchRoutePromptsRequest,
    ExplainDecisionRequest,
)

CURRENT = CatalogState.CATALOG_STATE_CURRENT
FAULTY = CatalogState.CATALOG_STATE_FAULTY_FILES

NEVER_S = 3_600.0
"""An interval between looks that no test lives to see: what shows is seen by the watch."""

PROMPT = "compose a haiku about autumn rain"
"""A prompt that matches nothing, until a task for it is added."""


def add_poetry(catalog: CatalogFolder, tier: str = "premium") -> None:
    """Adds a task that the prompt reads like."""
    text = catalog.read(f"tiers/{tier}.yaml")
    lines = ("compose a haiku about spring rain", "write a poem about autumn leaves")
    task = "".join(f"      - {line}\n" for line in lines)
    catalog.write(
        f"tiers/{tier}.yaml", f"{text}  poetry:\n    description: d\n    utterances:\n{task}"
    )


async def tier_of(served: Served, prompt: str = PROMPT) -> str:
    return (await served.route(prompt)).tier_id


def goes_to(served: Served, tier: str) -> Callable[[], Any]:
    async def holds() -> bool:
        return await tier_of(served) == tier

    return holds


async def status_of(served: Served) -> Any:  # noqa: ANN401 - a response
    return await served.catalogs.GetCatalogStatus(GetCatalogStatusRequest(), timeout=CALL_TIMEOUT_S)


def is_in_state(served: Served, state: int) -> Callable[[], Any]:
    async def holds() -> bool:
        return bool((await status_of(served)).state == state)

    return holds


async def reload(served: Served, **fields: Any) -> Any:  # noqa: ANN401 - a response
    return await served.catalogs.ReloadCatalog(
        ReloadCatalogRequest(**fields), timeout=CALL_TIMEOUT_S
    )


def figure(served: Served, name: str, **labels: str) -> float | None:
    return served.server.telemetry.registry.get_sample_value(name, labels)


async def test_an_edit_shows_within_a_second_without_a_call(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        before = await served.route(PROMPT)
        assert before.tier_id == "mid"
        edited = time.monotonic()
        add_poetry(catalog)
        await eventually(goes_to(served, "premium"))
        seconds = time.monotonic() - edited
        after = await served.route(PROMPT)
        assert after.task_id == "poetry"
        assert after.catalog_revision != before.catalog_revision
        assert figure(served, "tierwise_reloads_total", catalog="default", result="loaded") == 1
        # Not a measurement: a look by the clock would be an hour away.
        assert seconds < 10


async def test_an_edit_in_place_shows_as_well(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        assert await tier_of(served) == "mid"
        with (catalog.path / "tiers" / "budget.yaml").open("a", encoding="utf-8") as file:
            file.write("  poetry:\n    description: d\n    utterances: [compose a haiku on rain]\n")
        await eventually(goes_to(served, "budget"))


async def test_the_clock_finds_what_no_event_tells(serve: Serve, catalog: CatalogFolder) -> None:
    real = catalog.path.parent / "elsewhere" / "real"
    shutil.copytree(catalog.path, real)
    other = catalog.path.parent / "other" / "real"
    shutil.copytree(catalog.path, other)
    add_poetry(CatalogFolder(other))
    # The link is above the folder that is served, where no watch is.
    link = catalog.path.parent / "current"
    link.symlink_to(real.parent)
    async with serve(str(link / "real"), reload_interval_s=0.2) as served:
        assert await tier_of(served) == "mid"
        aside = catalog.path.parent / "aside"
        aside.symlink_to(other.parent)
        aside.replace(link)
        await eventually(goes_to(served, "premium"))


async def test_a_reformatted_file_changes_nothing_but_the_lines(
    serve: Serve, catalog: CatalogFolder
) -> None:
    prompt = LIKE["budget"]
    request = ExplainDecisionRequest(input=RoutingInput(prompt=prompt), task_limit=1)

    async with serve(catalog, reload_interval_s=NEVER_S) as served:

        async def nearest() -> Any:  # noqa: ANN401 - a message
            response = await served.routing.ExplainDecision(request, timeout=CALL_TIMEOUT_S)
            return response.explanation.tasks[0].utterance_matches[0]

        before, first = await served.route(prompt), await nearest()
        file = first.source_file
        catalog.write(file, "# a comment\n\n# and another one\n" + catalog.read(file))

        async def has_moved() -> bool:
            return bool((await nearest()).source_line == first.source_line + 3)

        await eventually(has_moved, what="an explanation with the new lines")
        after = await served.route(prompt)
        assert after.catalog_revision == before.catalog_revision
        moved = await nearest()
        assert moved.utterance in catalog.line(file, moved.source_line)


async def test_validating_says_what_would_change_and_changes_nothing(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        before = await served.route(PROMPT)
        # A folder of its own, put where no watch is, so that only the call reads it.
        served.server._slot.router.live("").folder = shutil.copytree(
            catalog.path, catalog.path.parent / "copy"
        )
        edited = CatalogFolder(catalog.path.parent / "copy")
        add_poetry(edited)
        edited.replace("tiers/mid.yaml", "      - 'explain what this left join returns'\n", "")
        edited.write(
            "tiers/budget.yaml", edited.read("tiers/budget.yaml").partition("  grammar:")[0]
        )
        would = await reload(served, validate_only=True)
        assert would.previous_revision == before.catalog_revision
        assert would.catalog.revision != before.catalog_revision
        changes = [
            (one.task_id, one.kind, one.added_utterance_count, one.removed_utterance_count)
            for one in would.task_changes
        ]
        assert changes == [
            ("grammar", TaskChangeKind.TASK_CHANGE_KIND_REMOVED, 0, 5),
            ("poetry", TaskChangeKind.TASK_CHANGE_KIND_ADDED, 2, 0),
            ("sql", TaskChangeKind.TASK_CHANGE_KIND_MODIFIED, 0, 1),
        ]
        assert (await served.route(PROMPT)).catalog_revision == before.catalog_revision
        done = await reload(served)
        assert done.catalog.revision == would.catalog.revision
        assert list(done.task_changes) == list(would.task_changes)
        assert await tier_of(served) == "premium"


async def test_a_reload_of_unchanged_files_changes_nothing(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog) as served:
        response = await reload(served)
        assert response.catalog.revision == response.previous_revision
        assert list(response.task_changes) == []


async def test_a_reload_may_expect_a_revision(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        revision = (await served.route(PROMPT)).catalog_revision
        answer = await refused(reload(served, expected_revision="another"))
        assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "REVISION_MISMATCH")
        assert answer.metadata == {"expected_revision": "another", "actual_revision": revision}
        response = await reload(served, expected_revision=revision)
        assert response.previous_revision == revision


async def test_the_revision_depends_on_the_content_alone(
    serve: Serve, catalog: CatalogFolder, tmp_path: Path
) -> None:
    twin = write_catalog(tmp_path / "twin")
    twin.write("tiers/mid.yaml", "# formatted otherwise\n" + twin.read("tiers/mid.yaml"))
    async with serve(f"one={catalog.path}", f"two={twin.path}") as served:
        one = await served.route(PROMPT, catalog="one")
        two = await served.route(PROMPT, catalog="two")
        assert one.catalog_revision == two.catalog_revision


async def test_reloading_can_be_switched_off(
    serve: Serve, catalog: CatalogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(catalog, admin="off") as served:
        answer = await refused(reload(served))
        assert answer.code is grpc.StatusCode.UNIMPLEMENTED
        assert "unexpected error" not in caplog.text
        count = figure(served, "tierwise_calls_total", method="ReloadCatalog", code="UNIMPLEMENTED")
        assert count == 1
        assert (await served.route(PROMPT)).tier_id == "mid"


# Faulty files ----------------------------------------------------------------------------------


async def test_faulty_files_keep_the_revision_before_until_they_are_mended(
    serve: Serve, catalog: CatalogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        before = await served.route(LIKE["budget"])
        add_poetry(catalog)
        catalog.replace(
            "tiers/budget.yaml",
            "    utterances:\n      - 'fix the",
            "    utterancez:\n      - 'fix the",
        )
        await eventually(is_in_state(served, FAULTY))
        status = await status_of(served)
        assert status.revision == before.catalog_revision
        faults = [(one.source_file, one.source_line, one.rule) for one in status.faults]
        line = catalog.read("tiers/budget.yaml").splitlines().index("    utterancez:") + 1
        assert ("tiers/budget.yaml", line, "unknown-key") in faults
        assert any("utterances" in one.suggestion for one in status.faults)
        assert figure(served, "tierwise_catalog_faults", catalog="default") == len(status.faults)
        assert figure(served, "tierwise_reloads_total", catalog="default", result="faulty") == 1
        after = await served.route(LIKE["budget"])
        assert (after.tier_id, after.catalog_revision) == ("budget", before.catalog_revision)
        faulty = [record for record in caplog.records if "faulty" in record.getMessage()]
        assert len(faulty) == 1
        assert any(f"tiers/budget.yaml:{line}" in fault for fault in vars(faulty[0])["faults"])

        catalog.replace("tiers/budget.yaml", "utterancez", "utterances")
        await eventually(is_in_state(served, CURRENT))
        assert list((await status_of(served)).faults) == []
        assert await tier_of(served) == "premium"
        assert figure(served, "tierwise_catalog_faults", catalog="default") == 0


async def test_an_undone_faulty_edit_is_mended_everywhere(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        good = catalog.read("catalog.yaml")
        for _ in range(2):
            catalog.write("catalog.yaml", good + "colour: blue\n")
            await eventually(is_in_state(served, FAULTY))
            assert figure(served, "tierwise_catalog_faults", catalog="default") == 1
            catalog.write("catalog.yaml", good)
            await eventually(is_in_state(served, CURRENT))
            assert figure(served, "tierwise_catalog_faults", catalog="default") == 0


async def test_the_time_of_the_last_look_moves_while_files_are_faulty(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=0.1) as served:
        catalog.write("catalog.yaml", "tiers: []\n")
        await eventually(is_in_state(served, FAULTY))
        first = (await status_of(served)).check_time.ToNanoseconds()

        async def was_looked_at_again() -> bool:
            status = await status_of(served)
            return bool(status.check_time.ToNanoseconds() > first and status.state == FAULTY)

        await eventually(was_looked_at_again)


async def test_a_half_written_file_is_not_served(serve: Serve, catalog: CatalogFolder) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        before = (await status_of(served)).revision
        whole = catalog.read("tiers/premium.yaml")
        add_poetry(catalog)
        after = catalog.read("tiers/premium.yaml")
        catalog.write("tiers/premium.yaml", whole)
        path = catalog.path / "tiers" / "premium.yaml"
        with path.open("w", encoding="utf-8") as file:
            file.write(after[: len(after) // 2] + '"')
            file.flush()
            await eventually(is_in_state(served, FAULTY))
            assert (await status_of(served)).revision == before
            assert await tier_of(served, LIKE["premium"]) == "premium"
            file.seek(0)
            file.truncate()
            file.write(after)
        await eventually(goes_to(served, "premium"))
        assert (await status_of(served)).state == CURRENT


async def test_a_file_that_vanishes_keeps_its_tier_in_service(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        before = (await status_of(served)).revision
        whole = catalog.read("tiers/budget.yaml")
        (catalog.path / "tiers" / "budget.yaml").unlink()
        await eventually(is_in_state(served, FAULTY))
        assert (await status_of(served)).revision == before
        assert await tier_of(served, LIKE["budget"]) == "budget"
        catalog.write("tiers/budget.yaml", whole)
        await eventually(is_in_state(served, CURRENT))
        assert (await status_of(served)).revision == before


async def test_a_storm_of_edits_ends_with_the_last_good_one_and_fails_no_call(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        ending = asyncio.Event()
        batches = 0

        async def call_on() -> None:
            nonlocal batches
            while not ending.is_set():
                inputs = [RoutingInput(prompt=text) for text in LIKE.values()]
                answer = await served.routing.BatchRoutePrompts(
                    BatchRoutePromptsRequest(inputs=inputs), timeout=CALL_TIMEOUT_S
                )
                assert len({one.catalog_revision for one in answer.decisions}) == 1
                batches += 1

        caller = asyncio.create_task(call_on())
        whole = catalog.read("tiers/premium.yaml")
        text = ""
        for number in range(60):
            if number % 10 == 5:
                catalog.write("tiers/premium.yaml", whole + "  broken: [\n")
            else:
                text = f"compose haiku number {number} about autumn rain"
                task = f"  storm:\n    description: d\n    utterances: [{text}]\n"
                catalog.write("tiers/premium.yaml", whole + task)
            if number % 20 == 19:
                await eventually(is_nearest(served, text), within_s=30)
            else:
                await asyncio.sleep(0)  # the callers and the watch go on
        ending.set()
        await caller
        assert batches
        assert (await status_of(served)).state == CURRENT


def is_nearest(served: Served, text: str) -> Callable[[], Any]:
    """Returns whether an utterance is served: itself is then nearest to it."""

    async def holds() -> bool:
        decision = await served.route(text, keep_nothing=True)
        return decision.task_id == "storm" and decision.similarity > 0.9999

    return holds


async def test_reloading_faulty_files_lists_the_faults(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "colour: blue\n")
        for fields in ({"validate_only": True}, {}):
            answer = await refused(reload(served, **fields))
            assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
            assert answer.reason == "CATALOG_INVALID"
            assert answer.metadata == {"catalog": "default", "fault_count": "1"}
            (failure,) = answer.failures
            assert failure[:2] == ("unknown-key", "catalog.yaml:5")
            assert "colour" in failure[2]
        assert (await served.route(PROMPT)).tier_id == "mid"


async def test_any_number_of_faults_fits_into_the_answer(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        many = "".join(f"{'key' * 30}{n}: {'x' * 100}\n" for n in range(900))
        catalog.write("catalog.yaml", catalog.read("catalog.yaml") + many)
        answer = await refused(reload(served))
        assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
        assert answer.reason == "CATALOG_INVALID"
        assert int(answer.metadata["fault_count"]) >= 900
        assert answer.failures
        status = await status_of(served)
        assert len(status.faults) >= 900


# Folders that are swapped ----------------------------------------------------------------------


def swap(link: Path, target: Path) -> None:
    """Points a link elsewhere in one step."""
    aside = link.parent / f"{link.name}.aside"
    aside.symlink_to(target)
    os.replace(aside, link)


async def test_a_swapped_link_to_the_folder_is_followed(serve: Serve, tmp_path: Path) -> None:
    first, second = write_catalog(tmp_path / "v1"), write_catalog(tmp_path / "v2")
    add_poetry(second)
    link = tmp_path / "current"
    link.symlink_to(first.path)
    async with serve(str(link), reload_interval_s=NEVER_S) as served:
        assert await tier_of(served) == "mid"
        swap(link, second.path)
        await eventually(goes_to(served, "premium"))
        # And the new folder is watched from now on, with nothing missed in between.
        second.write("tiers/premium.yaml", first.read("tiers/premium.yaml"))
        await eventually(goes_to(served, "mid"))
        add_poetry(second, "budget")
        await eventually(goes_to(served, "budget"))
        swap(link, first.path)
        await eventually(goes_to(served, "mid"))


async def test_a_mounted_config_map_is_followed(serve: Serve, tmp_path: Path) -> None:
    """The layout of Kubernetes: files are links through `..data`, which is swapped."""
    mount = tmp_path / "mount"
    mount.mkdir()
    first = write_catalog(mount / "..2026_01_01")
    (mount / "..data").symlink_to(first.path.name)
    (mount / "catalog.yaml").symlink_to("..data/catalog.yaml")
    (mount / "tiers").symlink_to("..data/tiers")
    async with serve(str(mount), reload_interval_s=NEVER_S) as served:
        assert await tier_of(served) == "mid"
        second = write_catalog(mount / "..2026_01_02")
        add_poetry(second)
        swap(mount / "..data", Path(second.path.name))
        shutil.rmtree(first.path)
        await eventually(goes_to(served, "premium"))
        third = write_catalog(mount / "..2026_01_03")
        swap(mount / "..data", Path(third.path.name))
        shutil.rmtree(second.path)
        await eventually(goes_to(served, "mid"))


async def test_a_deleted_folder_is_a_fault_until_it_is_back(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        away = catalog.path.parent / "away"
        catalog.path.rename(away)
        await eventually(is_in_state(served, FAULTY))
        assert [one.rule for one in (await status_of(served)).faults] == ["missing-folder"]
        assert await tier_of(served, LIKE["budget"]) == "budget"
        add_poetry(CatalogFolder(away))
        away.rename(catalog.path)
        await eventually(goes_to(served, "premium"))
        assert (await status_of(served)).state == CURRENT
        add_more = catalog.read("tiers/premium.yaml").replace("  poetry:", "  verse:")
        catalog.write("tiers/premium.yaml", add_more)

        async def is_renamed() -> bool:
            return (await served.route(PROMPT)).task_id == "verse"

        await eventually(is_renamed, what="an edit after the folder came back")


async def test_a_folder_that_is_made_anew_at_once_is_watched_on(
    serve: Serve, catalog: CatalogFolder
) -> None:
    """As a checkout or a sync does it: another folder of the same name, moments later."""
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        for tier in ("premium", "budget", "premium", "budget"):
            shutil.rmtree(catalog.path)
            write_catalog(catalog.path)
            add_poetry(catalog, tier)
            await eventually(goes_to(served, tier), what=f"{tier} of a folder made anew")
        write_catalog(catalog.path)
        await eventually(goes_to(served, "mid"), what="an edit in a folder made anew")


async def test_a_tier_folder_that_is_made_anew_is_watched_on(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        for tier in ("premium", "budget"):
            shutil.rmtree(catalog.path / "tiers")
            write_catalog(catalog.path)
            add_poetry(catalog, tier)
            await eventually(goes_to(served, tier))


async def test_an_edit_while_the_server_starts_is_not_missed(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        # Before the event loop has run anything but the start, the watch included.
        add_poetry(catalog)
        await eventually(goes_to(served, "premium"))


# Under load ------------------------------------------------------------------------------------


class Load:
    """Callers that go on until they are told to stop, and what they were answered."""

    def __init__(self, served: Served) -> None:
        self.done = asyncio.Event()
        self.singles = 0
        self.batches = 0
        self.revisions: set[str] = set()
        self._served = served

    async def call_singly(self, number: int) -> None:
        """Routes one prompt after the other."""
        while not self.done.is_set():
            decision = await self._served.route(f"{PROMPT} {number} {self.singles % 50}")
            assert decision.tier_id in UTTERANCES
            self.revisions.add(decision.catalog_revision)
            self.singles += 1

    async def call_in_batches(self) -> None:
        """Routes batches of 16, each of which must be of one revision."""
        prompts = (PROMPT, *LIKE.values())
        inputs = [RoutingInput(prompt=f"{prompt} {n}") for n in range(4) for prompt in prompts]
        while not self.done.is_set():
            response = await self._served.routing.BatchRoutePrompts(
                BatchRoutePromptsRequest(inputs=inputs), timeout=CALL_TIMEOUT_S
            )
            assert len(response.decisions) == 16
            assert len({one.catalog_revision for one in response.decisions}) == 1
            self.batches += 1

    async def is_enough(self) -> bool:
        """Returns whether there was load to speak of."""
        return self.singles >= 200 and self.batches >= 10


async def edit_often(served: Served, catalog: CatalogFolder, count: int) -> None:
    """Moves a task from tier to tier, seen by the watch or by a call in turns."""
    base = {tier: catalog.read(f"tiers/{tier}.yaml") for tier in ("premium", "budget")}
    for number in range(count):
        tier = ("premium", "budget")[number % 2]
        for name, text in base.items():
            catalog.write(f"tiers/{name}.yaml", text)
        add_poetry(catalog, tier)
        text = catalog.read(f"tiers/{tier}.yaml")
        catalog.write(f"tiers/{tier}.yaml", f"{text}      - a sonnet on line {number}\n")
        if number % 2:
            await reload(served)
        else:
            await eventually(goes_to(served, tier))


async def test_edits_under_load_fail_no_call_and_mix_no_revisions(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        load = Load(served)

        async def edit() -> None:
            await edit_often(served, catalog, 20)
            await eventually(load.is_enough, within_s=60)
            load.done.set()

        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(load.call_singly(number))
            group.create_task(load.call_in_batches())
            group.create_task(edit())
        assert len(load.revisions) >= 10
        final = await served.route(PROMPT)
        assert (final.tier_id, final.kind) == ("budget", DecisionKind.DECISION_KIND_SEMANTIC)
        assert (await status_of(served)).state == CURRENT
