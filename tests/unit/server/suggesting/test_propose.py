"""What is proposed for a small catalog, with the real encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import UTTERANCES, write_catalog

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.suggesting.case_bench import Addition, CaseBench, with_additions
from tierwise_server.suggesting.clusters import clusters
from tierwise_server.suggesting.errors import SuggestError
from tierwise_server.suggesting.logged import LoggedPrompt, read_logged
from tierwise_server.suggesting.propose import Limits, Proposal, Proposing

CASES = """\
- {prompt: translate my cover letter into Spanish, tier: budget, task: translation}
- {prompt: put the invitation into Italian please, tier: budget, task: translation}
- {prompt: how do you say good morning in Polish, tier: budget, task: translation}
- {prompt: summarize the minutes of this meeting, tier: budget, task: summarization}
- {prompt: write a sql query that counts users, tier: mid, task: sql}
- {prompt: prove that the sum of two odd numbers is even, tier: premium, task: proofs}
"""
THIN = {
    **UTTERANCES,
    "budget": {**UTTERANCES["budget"], "translation": ["the German word for butterfly"]},
}
TRANSLATIONS = (
    "translate this email into French",
    "put this paragraph into Dutch",
    "how do you say thank you in Greek",
    "say this sentence in Portuguese",
)
TRAVEL = (
    "book a flight from Berlin to Oslo",
    "find me a cheap flight to Rome in May",
    "which airline flies to Lisbon from Munich",
    "i need a plane ticket to Paris for tomorrow",
    "flights from Boston to Denver next friday",
)


@pytest.fixture
def bench(tmp_path: Path, encoder: OnnxEncoder) -> CaseBench:
    catalog = load_catalog(write_catalog(tmp_path, utterances=THIN, cases=CASES).path)
    made: CaseBench = CaseBench(catalog, embedder(encoder), embedder(encoder))
    return made


def embedder(encoder: OnnxEncoder):  # type: ignore[no-untyped-def]  # noqa: ANN201 - a closure
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([encoder.encode(text) for text in texts])

    return embed


def proposed(
    bench: CaseBench, encoder: OnnxEncoder, logged: Sequence[LoggedPrompt], **limits: int
) -> list[Proposal]:
    for one in logged:
        bench.know(one.text, encoder.encode(one.text))
    return list(Proposing(bench, logged, Limits(**limits)).proposals())


def logged(texts: Sequence[str], task: str = "", tier: str = "") -> list[LoggedPrompt]:
    return [LoggedPrompt(text=text, task=task, tier=tier, source="log") for text in texts]


def test_labelled_prompts_of_a_thin_task_fix_its_cases(
    bench: CaseBench, encoder: OnnxEncoder
) -> None:
    wrong = [one for one in bench.before if one.decided_task != one.expected_task]
    assert {one.expected_task for one in wrong} == {"translation"}
    found = proposed(bench, encoder, logged(TRANSLATIONS, "translation", "budget"), per_task=2)
    assert 1 <= len(found) <= 2
    assert all(one.additions[0].task == "translation" for one in found)
    assert sum(len(one.effect.fixed) for one in found) == len(wrong)
    assert not any(one.effect.broken for one in found)
    again = [one.question.source for one in bench.held_out if not one.logged_text]
    assert set(found[0].effect.fixed) <= set(again)


def test_a_tier_alone_leads_to_its_most_similar_task(
    bench: CaseBench, encoder: OnnxEncoder
) -> None:
    found = proposed(bench, encoder, logged(TRANSLATIONS, tier="budget"))
    assert {one.additions[0].tier for one in found} == {"budget"}


def test_what_is_a_case_or_an_utterance_is_never_proposed(
    bench: CaseBench, encoder: OnnxEncoder
) -> None:
    texts = ["Translate my cover letter into Spanish!", "the german word for Butterfly"]
    assert proposed(bench, encoder, logged(texts, "translation", "budget")) == []


def test_prompts_that_match_nothing_and_are_alike_become_a_task(
    bench: CaseBench, encoder: OnnxEncoder
) -> None:
    others = ["purple monkey dishwasher", "what is love"]
    (one,) = proposed(bench, encoder, logged([*TRAVEL, *others]))
    assert one.is_new_task
    texts = {each.text for each in one.additions}
    assert texts <= set(TRAVEL)
    assert len(texts) >= 4
    assert {each.tier for each in one.additions} == {"mid"}
    assert one.additions[0].task.split("-")[0] in {"flight", "flights", "from"}
    assert one.effect.net >= 0


def test_additions_keep_tasks_and_background_in_order(tmp_path: Path) -> None:
    folder = write_catalog(tmp_path)
    folder.write(
        "background.yaml",
        "groups:\n  noise:\n    description: Noise.\n    utterances: [asdf qwer]\n",
    )
    catalog = load_catalog(folder.path)
    longer = with_additions(
        catalog,
        [
            Addition(text="more sql", task="sql", tier="mid"),
            Addition(text="a flight", task="travel", tier="budget", description="Travel."),
        ],
    )
    assert [task.index for task in longer.tasks] == list(range(7))
    assert [task.id for task in longer.tasks][:3] == ["summarization", "grammar", "travel"]
    assert longer.background_utterances[0].task_index == 7
    assert len(longer.utterances) == len(catalog.utterances) + 2
    for one in longer.utterances:
        assert one in longer.tasks[one.task_index].utterances


def test_clusters_leave_single_rows_alone() -> None:
    rows = np.eye(6, dtype=np.float32)[[0, 0, 0, 0, 1, 2, 2, 2, 2, 2]]
    assert clusters(rows) == [[5, 6, 7, 8, 9], [0, 1, 2, 3]]
    assert clusters(rows[:3]) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "needs an object"),
        ('{"label": "mid"}', "needs an object"),
        ('{"text": "  "}', "not empty"),
        ('{"text": "a", "label": "huge"}', "'huge' is no tier or task"),
    ],
)
def test_a_faulty_line_of_a_log_is_named(tmp_path: Path, line: str, message: str) -> None:
    catalog = load_catalog(write_catalog(tmp_path).path)
    log = tmp_path / "log.jsonl"
    log.write_text(f'{{"text": "fine", "label": "sql"}}\n\n{line}\n')
    with pytest.raises(SuggestError, match=f"log.jsonl:3: .*{message}"):
        list(read_logged(log, catalog))
