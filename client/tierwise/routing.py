"""What a caller may ask of the router beside the prompt itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any

from tierwise.decisions import Capability
from tierwise.declared_types import check_types
from tierwise.errors import InvalidRequestError
from tierwise.field_checks import check_text, check_token_count


class RequiredQuality(IntEnum):
    """How good the answer has to be. The numbers are those of the contract."""

    LOW = 1
    """Any tier."""
    MEDIUM = 2
    """The middle tier or one above it."""
    HIGH = 3
    """The top tier."""


class Priority(IntEnum):
    """What models of one tier are ranked by. The numbers are those of the contract."""

    COST = 1
    LATENCY = 2
    QUALITY = 3


_MAX_INT64 = 2**63 - 1

_ADDED_UP = ("required_labels", "required_capabilities", "denied_providers", "denied_models")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingOptions:
    """Limits and wishes for a decision.

    The limits hold for every step of the plan; the client checks them again before each attempt.
    `tierwise.v1.RoutingInput` and `Constraints` have the full meaning of each field.
    """

    catalog: str = ""
    """Catalog to decide by. Empty means the server's default."""
    tier: str = ""
    """Pins the tier."""
    model: str = ""
    """Pins the model."""
    lowest_tier: str = ""
    highest_tier: str = ""
    required_quality: RequiredQuality | None = None
    allowed_providers: tuple[str, ...] = ()
    """Empty means all that this client has keys for."""
    denied_providers: tuple[str, ...] = ()
    allowed_models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()
    required_capabilities: frozenset[Capability] = frozenset()
    """Beside those that the request itself needs, such as tools or vision."""
    required_labels: Mapping[str, str] = field(default_factory=dict)
    cost_ceiling_nano_usd: int | None = None
    """Highest estimated cost of one call, above 0. Models of unknown price are not used then."""
    downgrade_allowed: bool = False
    previous_tier: str = ""
    priority: Priority | None = None
    cost_quality_dial: float | None = None
    """From 0 (cheaper) to 1 (better)."""
    rules_only: bool = False
    task_tag: str = ""
    expected_tier: str = ""
    expected_output_tokens: int | None = None
    language: str = ""
    caller: str = ""
    affinity_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    keep_nothing: bool = False
    """Neither the router nor this library keeps anything of the prompt beyond the call."""

    def __post_init__(self) -> None:
        """Refuses what no router could make sense of."""
        check_types(self)
        if self.tier and self.model:
            raise InvalidRequestError("pin a tier or a model, not both", field="tier")
        ceiling, expected = self.cost_ceiling_nano_usd, self.expected_output_tokens
        if ceiling is not None and not 0 < ceiling <= _MAX_INT64:
            raise InvalidRequestError(
                f"must be above 0 and below 2^63, not {ceiling}", field="cost_ceiling_nano_usd"
            )
        if expected is not None:
            check_token_count(expected, "expected_output_tokens", least=0)
        dial = self.cost_quality_dial
        if dial is not None and not 0 <= dial <= 1:
            raise InvalidRequestError(f"must be from 0 to 1, not {dial}", field="cost_quality_dial")
        for one in fields(self):
            _check_texts(getattr(self, one.name), one.name)

    def over(self, defaults: RoutingOptions) -> RoutingOptions:
        """Returns these options, and the defaults' where these say nothing.

        Labels, capabilities and what is denied add up, so that no call can drop a limit of the
        client's by accident; of labels with one key, these options' value counts.
        """
        nothing = RoutingOptions()
        said: dict[str, Any] = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in _ADDED_UP and getattr(self, one.name) != getattr(nothing, one.name)
        }
        if "tier" in said or "model" in said:
            # One pin replaces the other.
            said.setdefault("tier", "")
            said.setdefault("model", "")
        return replace(
            defaults,
            **said,
            required_labels={**defaults.required_labels, **self.required_labels},
            required_capabilities=defaults.required_capabilities | self.required_capabilities,
            denied_providers=_union(defaults.denied_providers, self.denied_providers),
            denied_models=_union(defaults.denied_models, self.denied_models),
        )


def _check_texts(value: object, path: str) -> None:
    """Refuses texts among a field's values that no message can hold, and what should be texts."""
    match value:
        case str():
            check_text(value, path)
        case tuple():
            for number, one in enumerate(value):
                check_text(one, f"{path}[{number}]")
        case Mapping():
            for key, one in value.items():
                check_text(key, path)
                check_text(one, f"{path}[{key!r}]")
        case _:
            pass


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
