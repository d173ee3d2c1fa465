"""Owns the format of `limits.yaml`: what callers may spend."""

from typing import Final

from tierwise_server.catalog.document import Node, Scalar
from tierwise_server.catalog.faults import FaultRule, FileFaults
from tierwise_server.catalog.ids import Location, TierId
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.limits import AtLimit, Period, SpendLimit
from tierwise_server.catalog.schema import Record, list_items, read_record, refuse_type
from tierwise_server.catalog.values import choice, decimal, identifier, text

LIMITS_FILE: Final = "limits.yaml"
"""Path of the file inside the catalog folder."""

MAX_LIMITS: Final = 1000
"""Most spend limits of a catalog."""

MAX_CALLER_LENGTH: Final = 100
"""Longest name of a caller, as in requests."""

_MAX_DOLLARS: Final = "1000000000"
_NANO_USD_PER_USD: Final = 10**9


def read_limits(node: Node, faults: FileFaults, known: KnownIds) -> tuple[SpendLimit, ...]:
    """Returns the spend limits that have no fault of their own, in the order of the file."""
    record = read_record(node, faults, what="the limits", required=("spending",))
    if record is None:
        return ()
    items = record.read("spending", list_items) or ()
    if len(items) > MAX_LIMITS:
        message = f"There are more than {MAX_LIMITS} limits."
        faults.add(items[MAX_LIMITS], FaultRule.LIST_TOO_LONG, message)
        return ()
    lines: dict[tuple[str, Period, AtLimit], int] = {}
    limits: list[SpendLimit] = []
    for item in items:
        limit = _limit(item, faults, known)
        if limit is None:
            continue
        identity = (limit.caller, limit.per, limit.at_limit)
        if identity in lines:
            faults.add(
                item,
                FaultRule.DUPLICATE_LIMIT,
                f"What happens to {_whose(limit)} calls at `{limit.at_limit}` a {limit.per} is"
                f" already on line {lines[identity]}.",
                "Remove one of the two.",
            )
            continue
        lines[identity] = limit.location.line
        limits.append(limit)
    return tuple(limits)


def _limit(node: Node, faults: FileFaults, known: KnownIds) -> SpendLimit | None:
    record = read_record(
        node,
        faults,
        what="a spend limit",
        required=("per", "usd", "at_limit"),
        optional=("caller", "tier"),
    )
    if record is None:
        return None
    caller = record.read("caller", text(most=MAX_CALLER_LENGTH)) if record.has("caller") else ""
    per = record.read("per", choice(Period))
    nano_usd = record.read("usd", _dollars)
    at_limit = record.read("at_limit", choice(AtLimit))
    tier = record.read("tier", identifier)
    if tier is not None:
        known.check_tier(tier, faults)
    if at_limit is None or not _fits(record, at_limit, faults):
        return None
    if caller is None or per is None or nano_usd is None or (record.has("tier") and tier is None):
        return None
    return SpendLimit(
        caller=caller,
        per=per,
        nano_usd=nano_usd,
        at_limit=at_limit,
        tier=TierId(tier.text) if tier is not None else None,
        location=Location(file=faults.file, line=node.line),
    )


def _fits(record: Record, at_limit: AtLimit, faults: FileFaults) -> bool:
    """Returns whether there is a tier exactly where one is needed."""
    if (at_limit is AtLimit.CAP) == record.has("tier"):
        return True
    if at_limit is AtLimit.CAP:
        faults.add(
            record.node,
            FaultRule.MISSING_KEY,
            "Key `tier` is missing in a spend limit that caps.",
            "Add `tier:`, the highest tier once the limit is reached.",
        )
    else:
        faults.add(
            record.key("tier"),
            FaultRule.UNKNOWN_KEY,
            f"A spend limit with `at_limit: {at_limit}` has no tier.",
            "Remove `tier`, or write `at_limit: cap`.",
        )
    return False


def _dollars(node: Node, faults: FileFaults) -> int | None:
    amount = decimal(least="0", most=_MAX_DOLLARS)(node, faults)
    if amount is None:
        return None
    nano_usd = amount * _NANO_USD_PER_USD
    if not isinstance(node, Scalar):  # a number is always one
        refuse_type(node, faults, "Here has to be a number such as 5")
        return None
    if nano_usd != nano_usd.to_integral_value():
        faults.add(
            node, FaultRule.OUT_OF_RANGE, f"{node.text} has more than 9 digits after the point."
        )
        return None
    return int(nano_usd)


def _whose(limit: SpendLimit) -> str:
    return f"the caller's {limit.caller!r}" if limit.caller else "all"
