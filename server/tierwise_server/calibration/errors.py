"""Why a catalog cannot be calibrated."""

from __future__ import annotations


class CalibrationError(Exception):
    """The data does not allow what was asked for; the message says what would."""
