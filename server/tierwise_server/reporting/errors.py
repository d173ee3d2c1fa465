"""What keeps a report from being made."""

from __future__ import annotations


class ReportError(Exception):
    """No report can be made; the message says why and what to do, in one line."""
