"""What a valid catalog says once it is loaded."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.catalog.cases import Message, Role
from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.loader import CatalogFiles, load_catalog, parse_catalog
from tierwise_server.catalog.model import (
    DEFAULT_LANGUAGES,
    DEFAULT_MARGIN,
    DEFAULT_THRESHOLD,
    Catalog,
    TieBreak,
)
from tierwise_server.catalog.registry import Capability, Price, PriceSource, RateLimits

Files: TypeAlias = dict[str, str]
Parse: TypeAlias = Callable[[Mapping[str, str | bytes]], Catalog]
Edited: TypeAlias = Callable[..., Files]


def test_tiers_tasks_and_utterances_keep_the_order_of_the_files(
    parse: Parse, valid_files: Files
) -> None:
    catalog = parse(valid_files)

    assert [(tier.id, tier.rank) for tier in catalog.tiers] == [("budget", 0), ("premium", 1)]
    assert [(task.id, task.tier, task.index) for task in catalog.tasks] == [
        ("summarization", "budget", 0),
        ("translation", "budget", 1),
        ("design", "premium", 2),
    ]
    assert [(one.text, one.task_index, str(one.location)) for one in catalog.utterances] == [
        ("summarize this email in two sentences", 0, "tiers/budget.yaml:8"),
        ("tl;dr: the thread", 0, "tiers/budget.yaml:9"),
        ("translate this to French", 1, "tiers/budget.yaml:14"),
        ("design a queue that loses nothing", 2, "tiers/premium.yaml:6"),
    ]


def test_threshold_is_the_tasks_then_the_tiers_then_the_catalogs(
    parse: Parse, valid_files: Files
) -> None:
    catalog = parse(valid_files)

    thresholds = {task.id: catalog.threshold_of(task) for task in catalog.tasks}

    assert thresholds == {"summarization": 0.3, "translation": 0.45, "design": 0.35}


def test_settings_are_as_the_file_says(parse: Parse, valid_files: Files) -> None:
    catalog = parse(valid_files)

    assert catalog.default_tier == "premium"
    assert catalog.encoder == "all-minilm-l6-v2"
    assert (catalog.margin, catalog.tie) == (0.05, TieBreak.DEFAULT)
    assert catalog.languages == ("en", "de")
    assert catalog.baseline_model == "large"


def test_smallest_catalog_is_settings_and_one_tier_file(parse: Parse) -> None:
    catalog = parse(
        {
            "catalog.yaml": "tiers: [only]\ndefault_tier: only\n",
            "tiers/only.yaml": (
                "tier: only\ntasks: {one: {description: d, utterances: [hello there]}}\n"
            ),
        }
    )

    assert (catalog.threshold, catalog.margin) == (DEFAULT_THRESHOLD, DEFAULT_MARGIN)
    assert catalog.languages == DEFAULT_LANGUAGES
    assert catalog.tie is TieBreak.HIGHER
    assert (catalog.models, catalog.cases, catalog.rules.override) == ((), (), ())
    assert catalog.models_by_tier == {"only": ()}


def test_model_carries_all_that_its_entry_says(parse: Parse, valid_files: Files) -> None:
    model = parse(valid_files).model_by_id["small"]

    assert (model.provider, model.name, model.tier) == ("openai", "Small-1.5", "budget")
    assert model.price_source is PriceSource.FILE
    assert model.price == Price(
        input=Decimal("0.15"), output=Decimal("0.60"), cached_input=Decimal("0.075")
    )
    assert (model.context_window, model.max_output_tokens) == (128_000, 16_000)
    assert model.capabilities == {Capability.TOOLS, Capability.VISION}
    assert (model.quality, model.weight, model.token_family) == (0.7, 2.5, "llama")
    assert model.limits == RateLimits(requests_per_minute=1000)
    assert model.labels == {"region": "eu"}
    assert model.base_url == "http://localhost:8000/v1"
    assert model.location == Location(file="models.yaml", line=2)


def test_price_may_be_left_to_the_price_list_or_be_unknown(parse: Parse, edited: Edited) -> None:
    catalog = parse(
        edited(("models.yaml", "{input: 0.15, output: 0.60, cached_input: 0.075}", "unknown"))
    )

    assert [(one.price_source, one.price) for one in catalog.models] == [
        (PriceSource.UNKNOWN, None),
        (PriceSource.CATALOG, None),
    ]


def test_prices_are_exact_decimals(parse: Parse, edited: Edited) -> None:
    catalog = parse(edited(("models.yaml", "output: 0.60", "output: 0.1, per_call: 0.000001")))

    price = catalog.model_by_id["small"].price

    assert price is not None
    assert price.output * 3 == Decimal("0.3")
    assert price.per_call == Decimal("0.000001")


def test_cases_carry_prompt_or_conversation(parse: Parse, valid_files: Files) -> None:
    plain, conversation = parse(valid_files).cases

    assert (plain.prompt, plain.tier, plain.task) == (
        "shorten the article",
        "budget",
        "summarization",
    )
    assert (plain.tags, plain.previous_tier) == (("easy",), None)
    assert conversation.prompt is None
    assert conversation.messages == (
        Message(role=Role.SYSTEM, text="Be brief."),
        Message(role=Role.USER, text="ok do it"),
    )
    assert (conversation.tier, conversation.language) == (None, "en")
    assert conversation.previous_tier == "premium"
    assert str(conversation.location) == "cases/basics.yaml:5"


def test_catalog_loads_from_a_folder(
    write_catalog: Callable[[Files], Path], valid_files: Files, parse: Parse
) -> None:
    assert load_catalog(write_catalog(valid_files)) == parse(valid_files)


def test_catalog_is_immutable(parse: Parse, valid_files: Files) -> None:
    catalog = parse(valid_files)

    with pytest.raises(AttributeError):
        catalog.threshold = 1.0
    with pytest.raises(TypeError):
        catalog.task_by_id["more"] = catalog.tasks[0]
    with pytest.raises(TypeError):
        catalog.models[0].labels["region"] = "us"


@given(
    st.text(min_size=1, max_size=200).filter(
        lambda text: (
            any(one.isalnum() for one in text)
            and not any(
                (one < " " and one not in "\n\t") or "\x7f" <= one <= "\x9f" or one == "\ufeff"
                for one in text
            )
            and not any("\ud800" <= one <= "\udfff" for one in text)
        )
    )
)
def test_any_printable_text_comes_back_as_it_was_written(text: str) -> None:
    escaped = "".join(
        f"\\U{ord(one):08X}" if ord(one) > 0x7E or one in '"\\\n\t' else one for one in text
    )
    files = CatalogFiles(
        content={
            "catalog.yaml": b"tiers: [only]\ndefault_tier: only\n",
            "tiers/only.yaml": (
                f'tier: only\ntasks: {{one: {{description: d, utterances: [\n"{escaped}"\n]}}}}\n'
            ).encode(),
        }
    )

    (utterance,) = parse_catalog(files).utterances

    assert utterance.text == text.strip()
    assert utterance.location.line == 3


def test_block_text_keeps_its_inner_lines(parse: Parse, edited: Edited) -> None:
    catalog = parse(
        edited(
            (
                "tiers/premium.yaml",
                "- design a queue that loses nothing",
                "- |\n        why does this fail?\n          x = 1\n",
            )
        )
    )

    assert catalog.utterances[-1].text == "why does this fail?\n  x = 1"


def test_byte_order_mark_changes_nothing(parse: Parse, valid_files: Files) -> None:
    marked = {name: b"\xef\xbb\xbf" + text.encode() for name, text in valid_files.items()}

    assert parse(marked) == parse(valid_files)


def test_windows_line_ends_change_nothing(parse: Parse, valid_files: Files) -> None:
    files = {name: text.replace("\n", "\r\n") for name, text in valid_files.items()}

    assert parse(files) == parse(valid_files)
