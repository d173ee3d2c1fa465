"""A calibration as the text of `calibration.yaml`, with the comments that people put there."""

from __future__ import annotations

import io
from collections.abc import Mapping

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from tierwise_server.calibration.curve import DIGITS
from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.catalog.calibration import NEUTRAL_DIAL, Calibration

HEADING = """\
# Written by `tierwise calibrate`; its thresholds take the place of those in other files.
# Your comments are kept. Delete the file to do without a calibration.
"""

LONGEST_LINE = 120


def calibration_text(calibration: Calibration, before: bytes | None) -> bytes:
    """Returns the new content of the file.

    Args:
        calibration: What it is to hold.
        before: What it holds, whose comments and order are kept; None where there is none.

    Raises:
        CalibrationError: What it holds is no YAML.
    """
    yaml = YAML()
    yaml.width = LONGEST_LINE
    yaml.representer.add_representer(float, _number)
    document: CommentedMap = CommentedMap()
    if before is not None:
        try:
            loaded = yaml.load(before.decode())
        except Exception as error:  # whatever the file is, it is kept as it is
            raise CalibrationError(f"calibration.yaml cannot be read: {error}") from error
        if isinstance(loaded, CommentedMap):
            document = loaded
    _update(document, _content(calibration))
    stream = io.StringIO()
    yaml.dump(document, stream)
    heading = HEADING if before is None else ""
    return (heading + stream.getvalue()).encode()


def _content(calibration: Calibration) -> dict[str, object]:
    curve, bound = calibration.curve, calibration.binding
    content: dict[str, object] = {"objective": calibration.objective}
    if calibration.threshold is not None:
        thresholds: dict[str, object] = {"all": calibration.threshold}
        if calibration.tier_thresholds:
            thresholds["tiers"] = dict(calibration.tier_thresholds)
        if calibration.task_thresholds:
            thresholds["tasks"] = dict(calibration.task_thresholds)
        content["thresholds"] = thresholds
    if calibration.dial != NEUTRAL_DIAL:
        content["dial"] = calibration.dial
    if curve is not None:
        content["confidence"] = {
            "of": str(calibration.subject),
            "intercept": curve.intercept,
            "score": curve.score,
            "margin": curve.margin,
            "similarity": curve.similarity,
        }
    content["bound_to"] = {
        "encoder": bound.encoder,
        "scorer": bound.scorer,
        "utterances": bound.utterances,
        "settings": bound.settings,
        "data": {"source": bound.data_source, "hash": bound.data, "rows": bound.row_count},
    }
    if calibration.figures:
        content["figures"] = dict(calibration.figures)
    return content


def _update(into: CommentedMap, content: Mapping[str, object]) -> None:
    """Makes a mapping hold the content, key by key, so that comments stay with their keys."""
    for key in [key for key in into if key not in content]:
        del into[key]
    for key, value in content.items():
        if isinstance(value, Mapping):
            inner = into.get(key)
            if not isinstance(inner, CommentedMap):
                inner = CommentedMap()
                into[key] = inner
            _update(inner, value)
        else:
            into[key] = _plain(value)


def _plain(value: object) -> object:
    """Returns a number with the digits that are written down; a text as it is."""
    return round(value, DIGITS) if isinstance(value, float) else value


def _number(representer: RoundTripRepresenter, value: float) -> ScalarNode:
    """Writes a number as catalogs have it: without an exponent."""
    digits = f"{value:.{DIGITS}f}".rstrip("0")
    text = f"{digits}0" if digits.endswith(".") else digits
    return representer.represent_scalar("tag:yaml.org,2002:float", text)
