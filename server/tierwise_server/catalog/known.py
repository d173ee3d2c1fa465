"""Owns the ids that references may name while the files are compared with each other."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tierwise_server.catalog.document import Scalar
from tierwise_server.catalog.faults import FaultRule, FileFaults, did_you_mean, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownIds:
    """Ids by kind. None means that a file can't be read, so that any reference passes."""

    tiers: Collection[str] | None
    tier_of_task: Mapping[str, str] | None
    models: Collection[str] | None

    def check_tier(self, reference: Scalar, faults: FileFaults) -> None:
        """Adds a fault if the reference names no tier."""
        _check(reference, self.tiers, faults, FaultRule.UNKNOWN_TIER, "tier")

    def check_task(self, reference: Scalar, faults: FileFaults) -> None:
        """Adds a fault if the reference names no task."""
        _check(reference, self.tier_of_task, faults, FaultRule.UNKNOWN_TASK, "task")

    def check_model(self, reference: Scalar, faults: FileFaults) -> None:
        """Adds a fault if the reference names no model."""
        _check(reference, self.models, faults, FaultRule.UNKNOWN_MODEL, "model")


def _check(
    reference: Scalar,
    known: Collection[str] | None,
    faults: FileFaults,
    rule: FaultRule,
    what: str,
) -> None:
    if known is None or reference.text in known:
        return
    message = f"There is no {what} {quoted(reference.text)}."
    faults.add(reference, rule, message, did_you_mean(reference.text, known))
