"""Owns the format of `limits.yaml`: what callers may spend, and how much they may call."""

from dataclasses import dataclass
from typing import Final

from tierwise_server.catalog.document import Node, Scalar
from tierwise_server.catalog.faults import FaultRule, FileFaults
from tierwise_server.catalog.ids import Location, TierId
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.limits import EACH_CALLER, AtLimit, CallLimit, Period, SpendLimit
from tierwise_server.catalog.schema import Record, list_items, read_record, refuse_type
from tierwise_server.catalog.values import choice, decimal, identifier, integer, number, text

LIMITS_FILE: Final = "limits.yaml"
"""Path of the file inside the catalog folder."""

MAX_LIMITS: Final = 1000
"""Most spend limits of a catalog, and most call limits."""

MAX_CALLER_LENGTH: Final = 100
"""Longest name of a caller, as in requests."""

_MAX_PER_SECOND: Final = "1000000"
_MAX_CONCURRENT: Final = 1_000_000
_MAX_DOLLARS: Final = "1000000000"
_NANO_USD_PER_USD: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the file says."""

    spending: tuple[SpendLimit, ...] = ()
    calls: tuple[CallLimit, ...] = ()


def read_limits(node: Node, faults: FileFaults, known: KnownIds) -> Limits:
    """Returns the limits that have no fault of their own, in the order of the file."""
    record = read_record(node, faults, what="the limits", optional=("spending", "calls"))
    if record is None:
        return Limits()
    if not (record.has("spending") or record.has("calls")):
        faults.add(
            node,
            FaultRule.MISSING_KEY,
            "The limits have neither `spending` nor `calls`.",
            "Add one of them, or remove the file.",
        )
    return Limits(spending=_spend_limits(record, faults, known), calls=_call_limits(record, faults))


def _items(record: Record, key: str, faults: FileFaults) -> tuple[Node, ...]:
    if not record.has(key):
        return ()
    items = record.read(key, list_items) or ()
    if len(items) > MAX_LIMITS:
        message = f"There are more than {MAX_LIMITS} limits."
        faults.add(items[MAX_LIMITS], FaultRule.LIST_TOO_LONG, message)
        return ()
    return tuple(items)


def _spend_limits(record: Record, faults: FileFaults, known: KnownIds) -> tuple[SpendLimit, ...]:
    lines: dict[tuple[str, Period, AtLimit], int] = {}
    limits: list[SpendLimit] = []
    for item in _items(record, "spending", faults):
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


def _call_limits(record: Record, faults: FileFaults) -> tuple[CallLimit, ...]:
    limits: dict[str, CallLimit] = {}
    for item in _items(record, "calls", faults):
        limit = _call_limit(item, faults)
        if limit is None:
            continue
        if limit.caller in limits:
            faults.add(
                item,
                FaultRule.DUPLICATE_LIMIT,
                f"How much {_who(limit)} may call is already on line"
                f" {limits[limit.caller].location.line}.",
                "Make one limit of the two.",
            )
            continue
        limits[limit.caller] = limit
    return tuple(limits.values())


def _call_limit(node: Node, faults: FileFaults) -> CallLimit | None:
    record = read_record(
        node, faults, what="a call limit", optional=("caller", "per_second", "concurrent")
    )
    if record is None:
        return None
    caller = record.read("caller", _caller_or_each) if record.has("caller") else ""
    per_second = record.read("per_second", number(least="0.001", most=_MAX_PER_SECOND))
    concurrent = record.read("concurrent", integer(least=1, most=_MAX_CONCURRENT))
    if not (record.has("per_second") or record.has("concurrent")):
        faults.add(
            node,
            FaultRule.MISSING_KEY,
            "A call limit has neither `per_second` nor `concurrent`.",
            "Add one of them: prompts a second, or calls at a time.",
        )
        return None
    if caller is None or (per_second is None and concurrent is None):
        return None
    return CallLimit(
        caller=caller,
        per_second=per_second,
        concurrent=concurrent,
        location=Location(file=faults.file, line=node.line),
    )


def _caller_or_each(node: Node, faults: FileFaults) -> str | None:
    if isinstance(node, Scalar) and node.text == EACH_CALLER:
        return EACH_CALLER
    return text(most=MAX_CALLER_LENGTH)(node, faults)


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


def _who(limit: CallLimit) -> str:
    if limit.caller == EACH_CALLER:
        return "each caller"
    return f"the caller {limit.caller!r}" if limit.caller else "all callers together"
