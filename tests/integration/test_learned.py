"""Evidence as it is served: files are edited, and prompts go where the evidence says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    MODELS,
    CatalogFolder,
    Serve,
    Served,
    eventually,
    write_catalog,
)

from tierwise.commands.render import explanation_lines
from tierwise.v1.catalog_service_pb2 import CatalogState, GetCatalogStatusRequest
from tierwise.v1.decision_pb2 import DecisionKind
from tierwise.v1.explanation_pb2 import Explanation
from tierwise.v1.routing_input_pb2 import Constraints, Embedding, RoutingInput
from tierwise.v1.routing_service_pb2 import ExplainDecisionRequest
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.utterance_store import UtteranceStore

LEARNED = DecisionKind.DECISION_KIND_LEARNED
SEMANTIC = DecisionKind.DECISION_KIND_SEMANTIC
NEVER_S = 3_600.0

TOPICS = ("the invoice", "our contract", "this email", "the minutes", "my essay", "the memo")
HARD = ("write a sql query that joins {} with customers", "add an index for the table of {}")
EASY = ("summarize {} in two sentences", "condense {} into bullet points")
SETTINGS = "threshold: 0.3\nmargin: 0.02\nlearned: {bar: 0.6, minimum_prompts: 20}\n"


def prompts(patterns: Sequence[str]) -> list[str]:
    return [
        f"{pattern.format(topic)} {extra}".strip()
        for pattern in patterns
        for topic in TOPICS
        for extra in ("", "please")
    ]


def rows(easy: Sequence[float], hard: Sequence[float]) -> Iterator[str]:
    """Yields the evidence of each tier's quality on easy and on hard prompts."""
    models = ("small-fast", "middle", "big-thinker")
    for patterns, qualities in ((EASY, easy), (HARD, hard)):
        for prompt in prompts(patterns):
            for model, quality in zip(models, qualities, strict=True):
                yield json.dumps(
                    {
                        "prompt": prompt,
                        "model": model,
                        "quality": quality,
                        "source": "bench",
                        "time": "2026-05-01T12:00:00Z",
                    }
                )


# As nobody would expect of them: what is summarized needs the best, and SQL the least.
UNUSUAL = "\n".join(rows(easy=(0.0, 0.1, 1.0), hard=(1.0, 1.0, 1.0))) + "\n"


@pytest.fixture
def catalog(tmp_path_factory: pytest.TempPathFactory) -> CatalogFolder:
    """The small catalog with models, and evidence that 20 prompts a tier are enough of."""
    return write_catalog(
        tmp_path_factory.mktemp("learned") / "catalog", settings=SETTINGS, models=MODELS
    )


async def explained(served: Served, message: RoutingInput) -> Explanation:
    request = ExplainDecisionRequest(input=message, task_limit=3)
    response = await served.routing.ExplainDecision(request, timeout=CALL_TIMEOUT_S)
    found: Explanation = response.explanation
    return found


async def status(served: Served) -> object:
    return await served.catalogs.GetCatalogStatus(GetCatalogStatusRequest(), timeout=CALL_TIMEOUT_S)


async def kind_of(served: Served, prompt: str) -> tuple[str, int]:
    decision = await served.route(prompt)
    return decision.tier_id, decision.kind


async def test_evidence_decides_once_there_is_enough_and_stops_when_it_is_gone(
    serve: Serve, catalog: CatalogFolder, tmp_path: Path, encoder: OnnxEncoder
) -> None:
    async with serve(catalog, reload_interval_s=NEVER_S, cache_dir=str(tmp_path)) as served:
        assert await kind_of(served, LIKE["budget"]) == ("budget", SEMANTIC)
        assert not (await status(served)).HasField("evidence")  # type: ignore[attr-defined]

        few = "".join(UNUSUAL.splitlines(keepends=True)[:30])
        catalog.write("evidence/bench.jsonl", few)

        async def told() -> bool:
            return (await status(served)).evidence.row_count == 30  # type: ignore[attr-defined]

        await eventually(told)
        evidence = (await status(served)).evidence  # type: ignore[attr-defined]
        assert not evidence.sufficient
        assert [
            (one.tier_id, one.prompt_count, one.missing_prompt_count) for one in evidence.tiers
        ] == [
            ("budget", 10, 10),
            ("mid", 10, 10),
            ("premium", 10, 10),
        ]
        assert "10 of 20 for budget" in evidence.description
        assert await kind_of(served, LIKE["budget"]) == ("budget", SEMANTIC)

        catalog.write("evidence/bench.jsonl", UNUSUAL)

        async def learned() -> bool:
            return await kind_of(served, LIKE["budget"]) == ("premium", LEARNED)

        await eventually(learned)
        kept = UtteranceStore(tmp_path / "vectors/default/evidence", encoder.encoder_id).load()
        assert len(kept.rows) == len(UNUSUAL.splitlines()) // 3
        assert (await status(served)).evidence.sufficient  # type: ignore[attr-defined]
        decision = await served.route(LIKE["mid"])
        assert (decision.tier_id, decision.kind, decision.task_id) == ("budget", LEARNED, "sql")
        assert "the cheapest tier that is good enough is budget" in decision.reason
        # Nothing near: the utterances decide as before.
        far = await served.route(LIKE["premium"])
        assert (far.tier_id, far.kind) == ("premium", SEMANTIC)

        (catalog.path / "evidence/bench.jsonl").unlink()

        async def forgotten() -> bool:
            return await kind_of(served, LIKE["budget"]) == ("budget", SEMANTIC)

        await eventually(forgotten)


async def test_pins_bounds_dial_and_bar_hold(serve: Serve, catalog: CatalogFolder) -> None:
    graded = "\n".join(rows(easy=(0.7, 0.9, 1.0), hard=(0.7, 0.9, 1.0))) + "\n"
    catalog.write("evidence/bench.jsonl", graded)
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        prompt = LIKE["budget"]
        tiers = [
            (await served.route(prompt, cost_quality_dial=dial)).tier_id for dial in (0.0, 0.5, 1.0)
        ]
        order = ["budget", "mid", "premium"]
        assert tiers == sorted(tiers, key=order.index)
        assert tiers[0] == "budget"
        assert tiers[-1] != "budget"
        pinned = await served.route(prompt, constraints=Constraints(pinned_tier_id="premium"))
        assert pinned.kind == DecisionKind.DECISION_KIND_PINNED
        bounded = await served.route(
            prompt, cost_quality_dial=1.0, constraints=Constraints(highest_tier_id="budget")
        )
        assert (bounded.tier_id, bounded.kind) == ("budget", LEARNED)
        assert "the request's limits move it to budget" in bounded.reason

        catalog.replace("catalog.yaml", "bar: 0.6", "bar: 0.99")

        async def strict() -> bool:
            return (await served.route(prompt)).tier_id == "premium"

        await eventually(strict)


async def test_the_explanation_shows_neighbours_by_place_and_their_text_only_when_allowed(
    serve: Serve, catalog: CatalogFolder
) -> None:
    catalog.write("evidence/bench.jsonl", UNUSUAL)
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        evidence = (await explained(served, RoutingInput(prompt=LIKE["budget"]))).evidence
        assert [one.tier_id for one in evidence.predictions] == ["budget", "mid", "premium"]
        assert evidence.quality_bar == pytest.approx(0.6)
        for one in evidence.predictions:
            assert one.lower_bound <= one.quality <= one.upper_bound
        nearest = evidence.evidence_matches[0]
        assert nearest.prompt == ""
        assert [label.model_id for label in nearest.labels] == [
            "small-fast",
            "middle",
            "big-thinker",
        ]
        line = nearest.labels[0].source_line
        found = json.loads(catalog.line("evidence/bench.jsonl", line))
        assert found["model"] == "small-fast"
        assert nearest.labels[0].quality == found["quality"]

        catalog.replace("catalog.yaml", "bar: 0.6", "bar: 0.6, show: prompts")

        async def shown() -> bool:
            again = (await explained(served, RoutingInput(prompt=LIKE["budget"]))).evidence
            return again.evidence_matches[0].prompt == found["prompt"]

        await eventually(shown)


async def test_the_explanation_says_at_which_bar_the_tier_is_another(
    serve: Serve, catalog: CatalogFolder
) -> None:
    catalog.write(
        "evidence/bench.jsonl", "\n".join(rows(easy=(0.3, 0.8, 1.0), hard=(1.0, 0.9, 1.0))) + "\n"
    )
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        explanation = await explained(served, RoutingInput(prompt=LIKE["budget"]))
        assert [(flip.tier_id, flip.WhichOneof("change")) for flip in explanation.flips] == [
            ("budget", "quality_bar"),
            ("premium", "quality_bar"),
        ]
        cheaper, dearer = (flip.quality_bar for flip in explanation.flips)
        assert cheaper < 0.6 <= dearer
        text = "\n".join(explanation_lines(explanation))
        assert "expected    mid" in text
        assert f"would flip  to budget with a quality bar of about {cheaper:.3f}" in text.replace(
            " / summarization", ""
        )
        assert "evidence    144 rows of evidence decide where they lie near the prompt." in text

        catalog.replace("catalog.yaml", "bar: 0.6", f"bar: {cheaper - 0.001:.4f}")

        async def cheap() -> bool:
            return (await served.route(LIKE["budget"])).tier_id == "budget"

        await eventually(cheap)


async def test_vectors_stand_for_prompts_on_both_sides(
    serve: Serve, catalog: CatalogFolder, encoder: OnnxEncoder
) -> None:
    lines = []
    for text in UNUSUAL.splitlines():
        row = json.loads(text)
        vector = [round(float(one), 6) for one in encoder.encode(row.pop("prompt"))]
        lines.append(json.dumps(row | {"embedding": vector, "encoder": encoder.encoder_id}))
    catalog.write("evidence/kept.jsonl", "\n".join(lines))
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        assert await kind_of(served, LIKE["budget"]) == ("premium", LEARNED)
        sent = Embedding(
            encoder_id=encoder.encoder_id, values=encoder.encode(LIKE["budget"]).tolist()
        )
        decision = await served.decide(RoutingInput(embedding=sent))
        assert (decision.tier_id, decision.kind) == ("premium", LEARNED)

        catalog.write("evidence/kept.jsonl", "\n".join(lines).replace(encoder.encoder_id, "old"))

        async def unlearned() -> bool:
            return (await status(served)).evidence.foreign_row_count == len(lines)  # type: ignore[attr-defined]

        await eventually(unlearned)
        assert await kind_of(served, LIKE["budget"]) == ("budget", SEMANTIC)


async def test_faulty_evidence_keeps_what_is_served(serve: Serve, catalog: CatalogFolder) -> None:
    catalog.write("evidence/bench.jsonl", UNUSUAL)
    async with serve(catalog, reload_interval_s=NEVER_S) as served:
        catalog.write("evidence/bench.jsonl", UNUSUAL + UNUSUAL.replace("small-fast", "gone"))

        async def faulty() -> bool:
            found = await status(served)
            return found.state == CatalogState.CATALOG_STATE_FAULTY_FILES  # type: ignore[attr-defined]

        await eventually(faulty)
        (fault,) = (await status(served)).faults  # type: ignore[attr-defined]
        assert (fault.source_file, fault.rule) == ("evidence/bench.jsonl", "unknown-model")
        assert fault.source_line == 145
        assert await kind_of(served, LIKE["budget"]) == ("premium", LEARNED)
