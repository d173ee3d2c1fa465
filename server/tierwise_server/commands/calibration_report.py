"""What `tierwise calibrate` says of a calibration."""

from __future__ import annotations

from collections.abc import Iterator

from tierwise_server.calibration.fit import Fit
from tierwise_server.calibration.validate import Outcome, Validation
from tierwise_server.catalog.calibration import NEUTRAL_DIAL, Calibration
from tierwise_server.commands.calibration_rows import LabelledData

SMALL_SHARE = 0.05
"""Out-of-scope share of the labels below which it is worth a word."""

DIGITS = 4
"""Decimals of the figures that are written down."""


def figures_of(validation: Validation) -> dict[str, float]:
    """Returns the figures that are written down with a calibration."""
    after = validation.after
    found = {
        "accuracy": after.accuracy,
        "in_scope_accuracy": after.in_scope_accuracy,
        "out_of_scope_recall": after.out_of_scope_recall,
        "calibration_error": validation.calibration_error,
        "coverage_at_95_precision": validation.coverage_at[0.95],
        "limited_share": after.limited,
        "limited_share_bound": after.limited_bound,
    }
    return {name: round(value, DIGITS) for name, value in found.items() if value is not None}


def report_lines(
    calibration: Calibration,
    fitted: Fit,
    validation: Validation,
    data: LabelledData,
    *,
    share_stated: bool,
) -> Iterator[str]:
    """Yields what was fitted, and what it reaches on prompts that it was not fitted to.

    Args:
        calibration: What is served.
        fitted: The fit behind it.
        validation: Its figures.
        data: The labelled prompts.
        share_stated: Whether the out-of-scope share of real prompts was stated.
    """
    yield f"objective: {calibration.objective}"
    yield from _data_lines(calibration, data, share_stated=share_stated)
    yield from _fit_lines(fitted)
    yield "cross-validated                before     after"
    yield from _comparison(validation.before, validation.after)
    if validation.calibration_error is not None:
        yield f"calibration error of the confidence  {validation.calibration_error:.4f}"
    yield "most confident share   confidence   wrong   at most (95 %)"
    for point in validation.risk_coverage:
        yield (
            f"  {point.coverage:>14.2f}{point.confidence:>15.3f}{point.risk:>11.3f}"
            f"{point.risk_bound:>11.3f}"
        )
    for precision, coverage in validation.coverage_at.items():
        yield f"share that can be decided with {precision:.0%} right   {coverage:.3f}"


def _data_lines(
    calibration: Calibration, data: LabelledData, *, share_stated: bool
) -> Iterator[str]:
    subject = calibration.subject
    yield f"{len(data.rows)} labelled prompts from {data.asked.source}, for the {subject}"
    if data.left_out_count:
        yield f"{data.left_out_count} more stand among the utterances, and are left out"
    if data.asked.untold_count:
        yield f"{data.asked.untold_count} more don't tell which tier they need, and are left out"
    outside = sum(not row.label.in_scope for row in data.rows) / len(data.rows)
    if not share_stated and outside < SMALL_SHARE:
        yield (
            f"only {outside:.1%} of them are out of scope: where real prompts are more often,"
            " confidences come out too high; state --out-of-scope-share"
        )


def _fit_lines(fitted: Fit) -> Iterator[str]:
    if fitted.threshold is not None:
        one = fitted.threshold
        yield f"threshold {one.value:.4f} (90 % interval {one.low:.4f} to {one.high:.4f})"
    for kind, own in (("tier", fitted.tier_thresholds), ("task", fitted.task_thresholds)):
        for name, value in own.items():
            yield f"  {kind} {name:<22}{value:.4f}"
    if fitted.dial != NEUTRAL_DIAL:
        yield f"dial rests at {fitted.dial:.2f} instead of {NEUTRAL_DIAL}"


def _comparison(before: Outcome, after: Outcome) -> Iterator[str]:
    rows: list[tuple[str, float | None, float | None]] = [
        ("right", before.accuracy, after.accuracy),
        ("right where something fits", before.in_scope_accuracy, after.in_scope_accuracy),
        ("out-of-scope recall", before.out_of_scope_recall, after.out_of_scope_recall),
        ("limited share", before.limited, after.limited),
        ("  at most, by the level", before.limited_bound, after.limited_bound),
    ]
    rows += [
        (f"share of calls on {tier}", share, after.tier_shares[tier])
        for tier, share in before.tier_shares.items()
    ]
    for name, old, new in rows:
        if old is not None and new is not None:
            yield f"  {name:<28}{old:>7.3f}{new:>10.3f}"
