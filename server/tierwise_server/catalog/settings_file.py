"""Owns the format of `catalog.yaml`: the tiers in order and the catalog's figures."""

from dataclasses import dataclass
from typing import Final

from tierwise_server.catalog.calibration import StalePolicy
from tierwise_server.catalog.document import Node, Scalar
from tierwise_server.catalog.evidence_files import MAX_EVIDENCE_ROWS
from tierwise_server.catalog.faults import FaultRule, FileFaults, quoted
from tierwise_server.catalog.ids import RESERVED_IDS
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.model import (
    DEFAULT_LANGUAGES,
    DEFAULT_MARGIN,
    DEFAULT_THRESHOLD,
    LearnedSettings,
    ShownEvidence,
    TieBreak,
)
from tierwise_server.catalog.schema import listing, read_record
from tierwise_server.catalog.values import choice, identifier, integer, language, number, text

SETTINGS_FILE: Final = "catalog.yaml"
"""Path of the file inside the catalog folder."""

MAX_TIERS: Final = 16
"""Most tiers of a catalog."""

MAX_NAME_LENGTH: Final = 200
"""Longest name of something outside the catalog, such as an encoder."""

MIN_EVIDENCE_PROMPTS: Final = 20
"""Fewest prompts that a tier's evidence may be held to: fewer tell nothing apart."""

THRESHOLD = number(least="-1", most="1")
"""Reads a threshold, wherever one may stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSettings:
    """What `catalog.yaml` says, before the other files are compared with it."""

    tiers: tuple[Scalar, ...]
    default_tier: Scalar
    encoder: str | None
    threshold: float
    margin: float
    tie: TieBreak
    languages: tuple[str, ...]
    baseline_model: Scalar | None
    ignored_lint: tuple[LintRule, ...]
    learned: LearnedSettings
    stale_calibration: StalePolicy


def read_settings(node: Node, faults: FileFaults) -> CatalogSettings | None:
    """Returns the settings, or None when tiers or default tier can't be told."""
    record = read_record(
        node,
        faults,
        what="the catalog's settings",
        required=("tiers", "default_tier"),
        optional=(
            "encoder",
            "threshold",
            "margin",
            "tie",
            "languages",
            "baseline_model",
            "lint",
            "learned",
            "stale_calibration",
        ),
    )
    if record is None:
        return None
    tiers = record.read("tiers", listing(_tier_id, most=MAX_TIERS, key=lambda tier: tier.text))
    default_tier = record.read("default_tier", identifier)
    if tiers and default_tier:
        known = KnownIds(tiers={tier.text for tier in tiers}, tier_of_task=None, models=None)
        known.check_tier(default_tier, faults)
    encoder = record.read("encoder", text(most=MAX_NAME_LENGTH))
    threshold = record.read("threshold", THRESHOLD)
    margin = record.read("margin", number(least="0", most="2"))
    tie = record.read("tie", choice(TieBreak))
    languages = record.read("languages", listing(language, key=lambda code: code))
    baseline_model = record.read("baseline_model", identifier)
    ignored_lint = record.read("lint", _lint)
    learned = record.read("learned", _learned)
    stale = record.read("stale_calibration", choice(StalePolicy))
    if not tiers or default_tier is None:
        return None
    return CatalogSettings(
        tiers=tiers,
        default_tier=default_tier,
        encoder=encoder,
        threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
        margin=DEFAULT_MARGIN if margin is None else margin,
        tie=tie or TieBreak.HIGHER,
        languages=languages or DEFAULT_LANGUAGES,
        baseline_model=baseline_model,
        stale_calibration=stale or StalePolicy.WARN,
        ignored_lint=ignored_lint or (),
        learned=learned or LearnedSettings(),
    )


def _learned(node: Node, faults: FileFaults) -> LearnedSettings | None:
    record = read_record(
        node,
        faults,
        what="the settings of the learned layer",
        required=(),
        optional=("bar", "minimum_prompts", "show"),
    )
    if record is None:
        return None
    default = LearnedSettings()
    bar = record.read("bar", number(least="0", most="1"))
    minimum = record.read(
        "minimum_prompts", integer(least=MIN_EVIDENCE_PROMPTS, most=MAX_EVIDENCE_ROWS)
    )
    return LearnedSettings(
        bar=default.bar if bar is None else bar,
        minimum_prompts=default.minimum_prompts if minimum is None else minimum,
        show=record.read("show", choice(ShownEvidence)) or default.show,
    )


def _tier_id(node: Node, faults: FileFaults) -> Scalar | None:
    found = identifier(node, faults)
    if found is not None and found.text in RESERVED_IDS:
        faults.add(
            found,
            FaultRule.RESERVED_ID,
            f"{quoted(found.text)} stands for what matches nothing.",
            "Give the tier another id.",
        )
    return found


def _lint(node: Node, faults: FileFaults) -> tuple[LintRule, ...] | None:
    record = read_record(node, faults, what="`lint`", required=("ignore",))
    if record is None:
        return None
    return record.read("ignore", listing(choice(LintRule), key=lambda rule: rule))
