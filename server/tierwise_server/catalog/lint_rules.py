"""Owns the ids of what `tierwise check` finds questionable in files that have no fault."""

from enum import StrEnum


class LintRule(StrEnum):
    """Rules by which a faultless catalog is looked at. Ids are stable; new ones may be added."""

    # From the texts alone.
    THIN_TASK = "thin-task"
    UNTESTED_TASK = "untested-task"
    UNEVEN_TIERS = "uneven-tiers"
    SAME_WORDS = "same-words"
    SURFACE_SHORTCUT = "surface-shortcut"
    MISSING_LANGUAGE = "missing-language"
    UNLISTED_LANGUAGE = "unlisted-language"
    # From the vectors of the texts.
    NEAR_DUPLICATE = "near-duplicate"
    NEAR_LEAK = "near-leak"
    DEAD_UTTERANCE = "dead-utterance"
    CONFUSABLE_TASKS = "confusable-tasks"
    MISPLACED_UTTERANCE = "misplaced-utterance"
