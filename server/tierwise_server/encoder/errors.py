"""The error of a broken or missing encoder."""

from __future__ import annotations


class EncoderError(Exception):
    """An encoder that cannot be built, loaded or trusted.

    The message is one line for the operator: what is wrong, where, and what to do about it.
    """
