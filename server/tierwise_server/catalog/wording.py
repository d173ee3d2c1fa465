"""Owns when two texts count as the same: for duplicates, leaks and nothing else."""

import unicodedata


def normalized(text: str) -> str:
    """Returns the text in Unicode NFC, case-folded, each run of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
