"""What can go wrong with the ledger."""

from __future__ import annotations


class LedgerQueueFullError(Exception):
    """So many outcomes wait to be written that no more are taken."""

    def __init__(self, queue_limit: int, retry_after_s: float) -> None:
        super().__init__(f"{queue_limit} outcomes wait to be written; try again later")
        self.queue_limit = queue_limit
        self.retry_after_s = retry_after_s


class LedgerUnavailableError(Exception):
    """The ledger's database takes nothing at the moment."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the ledger cannot be written at the moment; keep the outcomes and retry")
        self.retry_after_s = retry_after_s


class LedgerSchemaError(Exception):
    """A database that this release cannot use; the message says why and what to do."""
