"""Owns the format of `calibration.yaml`, which `tierwise calibrate` writes."""

from typing import Final

from tierwise_server.catalog.calibration import (
    NEUTRAL_DIAL,
    Binding,
    Calibration,
    ConfidenceCurve,
    Subject,
)
from tierwise_server.catalog.document import Node
from tierwise_server.catalog.faults import FileFaults
from tierwise_server.catalog.schema import Reader, mapping_entries, read_record
from tierwise_server.catalog.values import choice, identifier, integer, number, text

CALIBRATION_FILE: Final = "calibration.yaml"
"""Path of the file inside the catalog folder."""

MAX_TEXT_LENGTH: Final = 1000
"""Longest objective, hash or name of a data file."""

MAX_DIAL: Final = 20
"""How far the dial's rest may lie from 0: far beyond the point where all go to one tier."""

_THRESHOLD = number(least="-10", most="10")
_WEIGHT = number(least="0", most="100000")
_INTERCEPT = number(least="-100000", most="100000")
_WORD = text(most=MAX_TEXT_LENGTH)


def read_calibration(node: Node, faults: FileFaults) -> Calibration | None:
    """Returns the calibration, or None when it has a fault.

    A tier or task that is gone is no fault: the calibration is stale then, and says so.
    """
    record = read_record(
        node,
        faults,
        what="a calibration",
        required=("objective", "bound_to"),
        optional=("thresholds", "dial", "confidence", "figures"),
    )
    if record is None:
        return None
    thresholds = record.read("thresholds", _thresholds)
    confidence = record.read("confidence", _confidence)
    dial = record.read("dial", number(least=f"-{MAX_DIAL}", most=f"{MAX_DIAL}"))
    binding = record.read("bound_to", _binding)
    objective = record.read("objective", _WORD)
    figures = record.read("figures", _free(number(least="-1000000", most="1000000000")))
    if objective is None or binding is None:
        return None
    subject, curve = confidence or (Subject.TIER, None)
    base, tiers, tasks = thresholds or (None, {}, {})
    return Calibration(
        subject=subject,
        objective=objective,
        threshold=base,
        tier_thresholds=tiers,
        task_thresholds=tasks,
        dial=NEUTRAL_DIAL if dial is None else dial,
        curve=curve,
        binding=binding,
        figures=figures or {},
    )


def _thresholds(
    node: Node, faults: FileFaults
) -> tuple[float | None, dict[str, float], dict[str, float]] | None:
    record = read_record(
        node, faults, what="thresholds", required=("all",), optional=("tiers", "tasks")
    )
    if record is None:
        return None
    tiers = record.read("tiers", _thresholds_by_id)
    tasks = record.read("tasks", _thresholds_by_id)
    return record.read("all", _THRESHOLD), tiers or {}, tasks or {}


def _thresholds_by_id(node: Node, faults: FileFaults) -> dict[str, float] | None:
    entries = mapping_entries(node, faults, what="thresholds by id")
    if entries is None:
        return None
    found = {}
    for entry in entries:
        name, value = identifier(entry.key, faults), _THRESHOLD(entry.value, faults)
        if name is not None and value is not None:
            found[name.text] = value
    return found


def _free(value: Reader[float]) -> Reader[dict[str, float]]:
    """Returns a reader of a mapping with free keys."""

    def read(node: Node, faults: FileFaults) -> dict[str, float] | None:
        entries = mapping_entries(node, faults, what="figures")
        if entries is None:
            return None
        read_ones = ((entry.key.text, value(entry.value, faults)) for entry in entries)
        return {name: one for name, one in read_ones if one is not None}

    return read


def _confidence(node: Node, faults: FileFaults) -> tuple[Subject, ConfidenceCurve] | None:
    names = ("intercept", "score", "margin", "similarity")
    record = read_record(node, faults, what="the confidence curve", required=("of", *names))
    if record is None:
        return None
    subject = record.read("of", choice(Subject))
    values = {
        name: record.read(name, _INTERCEPT if name == "intercept" else _WEIGHT) for name in names
    }
    read = {name: value for name, value in values.items() if value is not None}
    if subject is None or len(read) < len(names):
        return None
    return subject, ConfidenceCurve(**read)


def _binding(node: Node, faults: FileFaults) -> Binding | None:
    texts = ("encoder", "scorer", "utterances", "settings")
    record = read_record(node, faults, what="`bound_to`", required=(*texts, "data"))
    if record is None:
        return None
    words = {name: record.read(name, _WORD) for name in texts}
    data = record.read("data", _data)
    read = {name: word for name, word in words.items() if word is not None}
    if data is None or len(read) < len(texts):
        return None
    source, digest, count = data
    return Binding(**read, data_source=source, data=digest, row_count=count)


def _data(node: Node, faults: FileFaults) -> tuple[str, str, int] | None:
    record = read_record(node, faults, what="`data`", required=("source", "hash", "rows"))
    if record is None:
        return None
    found = (
        record.read("source", _WORD),
        record.read("hash", _WORD),
        record.read("rows", integer(least=0, most=100_000_000)),
    )
    source, digest, count = found
    if source is None or digest is None or count is None:
        return None
    return source, digest, count
