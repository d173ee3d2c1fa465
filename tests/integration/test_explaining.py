"""Explanations: every figure agrees with the decision, and every flip comes true."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    LIKE_NOTHING,
    UTTERANCES,
    CatalogFolder,
    Serve,
    Served,
    refused,
    write_catalog,
)

from tierwise.v1.catalog_service_pb2 import ReloadCatalogRequest
from tierwise.v1.decision_pb2 import DecisionKind
from tierwise.v1.explanation_pb2 import Flip, UtteranceMatch
from tierwise.v1.routing_input_pb2 import AttachmentKind, Constraints, RoutingInput
from tierwise.v1.routing_service_pb2 import ExplainDecisionRequest
from tierwise_server.encoder.onnx_encoder import OnnxEncoder

STEP = 1e-5
"""What a threshold is moved by to either side of an edge."""


async def explained(served: Served, prompt: str, **options: Any) -> Any:  # noqa: ANN401 - a response
    request_fields = {
        key: options.pop(key) for key in ("task_limit", "expected_revision") if key in options
    }
    request = ExplainDecisionRequest(input=RoutingInput(prompt=prompt, **options), **request_fields)
    return await served.routing.ExplainDecision(request, timeout=CALL_TIMEOUT_S)


async def reload(served: Served) -> None:
    await served.catalogs.ReloadCatalog(ReloadCatalogRequest(), timeout=CALL_TIMEOUT_S)


def flip_of(flips: Iterable[Flip], change: str) -> Flip | None:
    found = [flip for flip in flips if flip.WhichOneof("change") == change]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize("prompt", [*LIKE.values(), LIKE_NOTHING])
@pytest.mark.parametrize("dial", [0.25, 0.5])
async def test_an_explanation_agrees_with_the_decision(
    shared: Served, prompt: str, dial: float
) -> None:
    routed = await shared.route(prompt, cost_quality_dial=dial)
    response = await explained(shared, prompt, cost_quality_dial=dial)
    decision, explanation = response.decision, response.explanation
    for field in ("tier_id", "task_id", "kind", "score", "score_threshold", "margin", "similarity",
                  "scorer_id", "reason", "catalog_revision", "semantic_abstention"):  # fmt: skip
        assert getattr(decision, field) == getattr(routed, field), field
    assert decision.decision_token == ""
    tiers = [(one.tier_id, one.score) for one in explanation.tiers]
    assert [score for _, score in tiers] == sorted((score for _, score in tiers), reverse=True)
    assert {tier for tier, _ in tiers} == set(UTTERANCES)
    assert tiers[0][1] == decision.score
    assert tiers[0][1] - tiers[1][1] == pytest.approx(decision.margin)
    best = explanation.tasks[0]
    assert (best.tier_id, best.task_id) == (tiers[0][0], explanation.tiers[0].task_id)
    assert best.score == decision.score
    assert best.similarity == pytest.approx(decision.similarity)


async def test_tasks_are_shown_best_first_and_as_many_as_asked_for(shared: Served) -> None:
    names = {task for tasks in UTTERANCES.values() for task in tasks}
    for limit, count in ((0, 6), (1, 1), (4, 4), (100, 6), (101, 6), (2**31 - 1, 6)):
        tasks = (await explained(shared, LIKE["mid"], task_limit=limit)).explanation.tasks
        assert len(tasks) == count
        scores = [task.score for task in tasks]
        assert scores == sorted(scores, reverse=True)
        assert {task.task_id for task in tasks} <= names


async def test_a_negative_task_limit_names_the_field(shared: Served) -> None:
    answer = await refused(explained(shared, "x", task_limit=-1))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == ("task_limit",)


async def test_the_revision_may_be_asked_for(shared: Served) -> None:
    revision = (await shared.route("x")).catalog_revision
    assert (await explained(shared, "x", expected_revision=revision)).decision.tier_id
    answer = await refused(explained(shared, "x", expected_revision="another"))
    assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "REVISION_MISMATCH")
    assert answer.metadata == {"expected_revision": "another", "actual_revision": revision}


async def test_the_nearest_utterances_are_where_they_are_said_to_be(
    shared: Served, shared_folder: CatalogFolder, encoder: OnnxEncoder
) -> None:
    vector = encoder.encode(LIKE["premium"])
    tasks = (await explained(shared, LIKE["premium"])).explanation.tasks
    for task in tasks:
        assert len(task.utterance_matches) == 5
        similarities = [match.similarity for match in task.utterance_matches]
        assert similarities == sorted(similarities, reverse=True)
        assert similarities[0] == pytest.approx(task.similarity)
        for match in task.utterance_matches:
            assert match.source_file == f"tiers/{task.tier_id}.yaml"
            line = shared_folder.line(match.source_file, match.source_line)
            assert line.strip() == f"- {match.utterance!r}"
            cosine = float(vector @ encoder.encode(match.utterance))
            assert match.similarity == pytest.approx(cosine, abs=1e-5)


async def test_rules_that_hold_are_shown_with_their_place_and_part(
    shared: Served, shared_folder: CatalogFolder
) -> None:
    response = await explained(
        shared,
        f"{LIKE['budget']} {'and so on ' * 50}",
        task_tag="code-review",
        attachment_kinds=[AttachmentKind.ATTACHMENT_KIND_IMAGE],
    )
    rules = response.explanation.rules
    assert [(one.rule_name, one.override, one.applied) for one in rules] == [
        ("review-is-premium", True, True),
        # It comes after the rule that decided, so it was never tried.
        ("images-need-vision", True, False),
        ("long-is-premium", False, False),
    ]
    for rule in rules:
        assert rule.rule_name in shared_folder.line(rule.source_file, rule.source_line)


async def test_a_rule_that_only_required_had_its_part(shared: Served) -> None:
    kinds = [AttachmentKind.ATTACHMENT_KIND_IMAGE]
    response = await explained(shared, LIKE["budget"], attachment_kinds=kinds)
    (rule,) = response.explanation.rules
    assert (rule.rule_name, rule.applied) == ("images-need-vision", True)


async def test_a_decision_without_comparison_has_no_scores_to_show(shared: Served) -> None:
    limits = Constraints(pinned_tier_id="budget")
    response = await explained(shared, LIKE["mid"], constraints=limits)
    assert response.decision.kind == DecisionKind.DECISION_KIND_PINNED
    assert not response.explanation.tiers
    assert not response.explanation.tasks
    assert not response.explanation.flips


async def test_the_language_is_shown(shared: Served) -> None:
    response = await explained(shared, "Kannst du mir diesen Text in zwei Sätzen zusammenfassen?")
    assert response.explanation.language == "de"


async def metrics(served: Served) -> dict[str, str]:
    def read() -> str:
        url = f"http://127.0.0.1:{served.server.metrics_port}/metrics"
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(read)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: value for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_explaining_leaves_no_trace_in_figures_about_traffic(shared: Served) -> None:
    traffic = re.compile(r"tierwise_(decisions|score|stage_seconds|vectors)")

    async def figures() -> dict[str, str]:
        return {
            name: value for name, value in (await metrics(shared)).items() if traffic.match(name)
        }

    await shared.route(LIKE["mid"])
    before = await figures()
    assert before
    for prompt in (*LIKE.values(), "something that was never asked before 12345"):
        await explained(shared, prompt)
    assert await figures() == before
    await shared.route(LIKE["mid"])
    assert await figures() != before


# Flips -----------------------------------------------------------------------------------------


def catalog_with_threshold(folder: CatalogFolder, threshold: float) -> None:
    folder.write(
        "catalog.yaml",
        "tiers: [budget, mid, premium]\ndefault_tier: mid\n"
        f"threshold: {threshold:.9f}\nmargin: 0.02\n",
    )


@pytest.mark.parametrize("prompt", [LIKE["budget"], LIKE["premium"]], ids=["budget", "premium"])
@pytest.mark.parametrize("dial", [0.5, 0.7])
@pytest.mark.parametrize("start", [0.2, 0.99], ids=["accepted", "rejected"])
async def test_the_threshold_of_a_flip_is_exact(
    serve: Serve, catalog: CatalogFolder, prompt: str, dial: float, start: float
) -> None:
    catalog_with_threshold(catalog, start)
    async with serve(catalog) as served:
        response = await explained(served, prompt, cost_quality_dial=dial)
        now = response.decision.tier_id
        flip = flip_of(response.explanation.flips, "threshold")
        assert flip is not None
        assert (now == "mid") == (start > 0.5)
        assert flip.tier_id != now
        # Above the edge the comparison does not decide, below it does.
        undecided, decided = (flip.tier_id, now) if start < 0.5 else (now, flip.tier_id)
        for threshold, tier in (
            (flip.threshold + STEP, undecided),
            (flip.threshold - STEP, decided),
        ):
            catalog_with_threshold(catalog, threshold)
            await reload(served)
            assert (await served.route(prompt, cost_quality_dial=dial)).tier_id == tier


async def test_a_threshold_that_would_change_nothing_is_no_flip(shared: Served) -> None:
    # Matched or not, it goes to the default tier.
    response = await explained(shared, LIKE["mid"])
    assert response.decision.tier_id == "mid"
    assert flip_of(response.explanation.flips, "threshold") is None


def without(folder: CatalogFolder, matches: Iterable[UtteranceMatch]) -> None:
    """Deletes the lines of utterances, and tasks that are left with none."""
    for file in {match.source_file for match in matches}:
        gone = {match.source_line for match in matches if match.source_file == file}
        numbered = enumerate(folder.read(file).splitlines(), start=1)
        text = "\n".join(line for number, line in numbered if number not in gone) + "\n"
        emptied = r"  [a-z]+:\n    description: .*\n    utterances:\n(?!      -)"
        folder.write(file, re.sub(emptied, "", text))


PROMPTS = (
    *LIKE.values(),
    "summarize the architecture of this system",
    "prove that this sql query is correct",
    "fix the spelling in this recipe for potato soup",
    "is the proof of this theorem correct",
    "shorten this query",
    "how long is this proof",
)


async def test_taking_the_utterances_of_a_flip_away_does_what_it_says(
    serve: Serve, tmp_path: Path
) -> None:
    folders = {prompt: write_catalog(tmp_path / str(n)) for n, prompt in enumerate(PROMPTS)}
    flipped = 0
    names = {prompt: f"c{n}" for n, prompt in enumerate(PROMPTS)}
    entries = [f"{names[prompt]}={folder.path}" for prompt, folder in folders.items()]
    async with serve(*entries) as served:
        for prompt, folder in folders.items():
            response = await explained(served, prompt, catalog=names[prompt])
            flip = flip_of(response.explanation.flips, "utterance_removal")
            if flip is None:
                continue
            flipped += 1
            matches = list(flip.utterance_removal.utterance_matches)
            best = next(
                task
                for task in response.explanation.tasks
                if task.task_id == response.decision.task_id
            )
            assert matches == list(best.utterance_matches)[: len(matches)]
            await remove_and_compare(served, names[prompt], folder, prompt, matches, flip)
    assert flipped >= 3, "the prompts should show what flips are like"


async def remove_and_compare(
    served: Served,
    catalog: str,
    folder: CatalogFolder,
    prompt: str,
    matches: list[UtteranceMatch],
    flip: Flip,
) -> None:
    """Takes away all but the last utterance, which changes nothing, then all of them."""
    tier = (await served.route(prompt, catalog=catalog)).tier_id
    files = {match.source_file: folder.read(match.source_file) for match in matches}
    request = ReloadCatalogRequest(catalog=catalog)
    if len(matches) > 1:
        without(folder, matches[:-1])
        await served.catalogs.ReloadCatalog(request, timeout=CALL_TIMEOUT_S)
        assert (await served.route(prompt, catalog=catalog)).tier_id == tier
        for file, text in files.items():
            folder.write(file, text)
    without(folder, matches)
    await served.catalogs.ReloadCatalog(request, timeout=CALL_TIMEOUT_S)
    decision = await served.route(prompt, catalog=catalog)
    assert (decision.tier_id, decision.task_id) == (flip.tier_id, flip.task_id)
    assert decision.tier_id != tier


async def test_utterances_that_share_a_line_are_told_apart(serve: Serve, tmp_path: Path) -> None:
    def flow(folder: Path, dropped: frozenset[str] = frozenset()) -> CatalogFolder:
        catalog = write_catalog(folder)
        for tier, tasks in UTTERANCES.items():
            lines = [f"tier: {tier}", "tasks:"]
            for task, utterances in tasks.items():
                kept = [repr(one) for one in utterances if one not in dropped]
                if kept:
                    lines += [f"  {task}: {{description: d, utterances: [{', '.join(kept)}]}}"]
            catalog.write(f"tiers/{tier}.yaml", "\n".join(lines) + "\n")
        return catalog

    catalog = flow(tmp_path / "flow")
    async with serve(catalog) as served:
        flipped = 0
        for prompt in PROMPTS:
            response = await explained(served, prompt)
            flip = flip_of(response.explanation.flips, "utterance_removal")
            if flip is None:
                continue
            flipped += 1
            gone = {match.utterance for match in flip.utterance_removal.utterance_matches}
            flow(tmp_path / "flow", frozenset(gone))
            await reload(served)
            decision = await served.route(prompt)
            assert (decision.tier_id, decision.task_id) == (flip.tier_id, flip.task_id)
            flow(tmp_path / "flow")
            await reload(served)
        assert flipped >= 3, "the prompts should show what flips are like"
