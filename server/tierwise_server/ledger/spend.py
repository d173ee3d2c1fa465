"""What a caller spent, as the ledger has it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, func, literal, select

from tierwise_server.ledger.schema import outcomes
from tierwise_server.planning.prices import NANO_USD_PER_USD


def spend_between(
    connection: Connection,
    *,
    catalogs: Collection[str],
    caller: str,
    since_ms: int,
    until_ms: int,
) -> tuple[int, int]:
    """Returns the known cost of all calls, in nano-dollars, and the number of attempts without one.

    Args:
        connection: To the ledger's database.
        catalogs: Names of the catalog; the default one has the empty name as well.
        caller: Who asked; empty means all callers.
        since_ms: Earliest time of the decisions, in milliseconds since 1970.
        until_ms: First time after them.
    """
    table = outcomes.c
    cost = func.coalesce(table.answer_cost_nano_usd, 0) + table.unsuccessful_cost_nano_usd
    # Whole dollars and the rest, so that no sum leaves the 64 bits of SQLite.
    dollar = literal(NANO_USD_PER_USD, literal_execute=True)
    query = select(
        func.coalesce(func.sum(cost // dollar), 0),
        func.coalesce(func.sum(cost % dollar), 0),
        func.coalesce(func.sum(table.unpriced_count), 0),
    ).where(
        table.decided_ms >= since_ms,
        table.decided_ms < until_ms,
        table.catalog.in_(sorted(catalogs)),
    )
    if caller:
        query = query.where(table.caller == caller)
    dollars, rest, unpriced = connection.execute(query).one()
    return int(dollars) * NANO_USD_PER_USD + int(rest), int(unpriced)
