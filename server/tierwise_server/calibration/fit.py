"""Fits a calibration to labelled prompts: thresholds or dial by an objective, then confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tierwise_server.calibration.binding import digest
from tierwise_server.calibration.curve import fit_curve
from tierwise_server.calibration.dial import DIALS, resting_place
from tierwise_server.calibration.errors import CalibrationError
from tierwise_server.calibration.objective import (
    Granularity,
    LimitedShare,
    LimitedUnderRouting,
    MostAccurate,
    Objective,
)
from tierwise_server.calibration.reliability import Flags, Floats
from tierwise_server.calibration.rows import Row
from tierwise_server.calibration.thresholds import FittedThreshold, fit_threshold
from tierwise_server.catalog.calibration import (
    NEUTRAL_DIAL,
    Binding,
    Calibration,
    ConfidenceCurve,
    Subject,
)
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.confidence import match_figures
from tierwise_server.deciding.decide import close_decision
from tierwise_server.deciding.decision import Verdict

LEAST_OUT_OF_SCOPE = 20
"""Labels of prompts that nothing is for without which a threshold says little."""

LEAST_EVENTS = 10
"""Matches of the rarer kind, right or wrong, without which a confidence says little."""

LEAST_OF_GROUP = 30
"""Prompts that a tier or task needs for a threshold of its own; others share the catalog's."""

DIGITS = 4
"""Decimals of a threshold, as it is written down."""

ACCEPT_ALL, REJECT_ALL = -10.0, 10.0
_UNBOUND = Binding(
    encoder="",
    scorer="",
    utterances="",
    settings="",
    data_source="",
    data="",
    row_count=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was fitted, before it is bound to anything."""

    threshold: FittedThreshold | None = None
    """None leaves the thresholds of the files."""
    tier_thresholds: Mapping[str, float] = field(default_factory=dict)
    task_thresholds: Mapping[str, float] = field(default_factory=dict)
    dial: float = NEUTRAL_DIAL
    curve: ConfidenceCurve | None = None
    subject: Subject = Subject.TIER

    def calibration(
        self, objective: str, binding: Binding, figures: Mapping[str, float]
    ) -> Calibration:
        """Returns the calibration to serve."""
        value = None if self.threshold is None else round(self.threshold.value, DIGITS)
        return Calibration(
            subject=self.subject,
            objective=objective,
            threshold=value,
            tier_thresholds=self.tier_thresholds,
            task_thresholds=self.task_thresholds,
            dial=self.dial,
            curve=self.curve,
            binding=binding,
            figures=figures,
        )

    def applied(self, catalog: Catalog) -> Catalog:
        """Returns a catalog that decides by the fit."""
        return replace(catalog, calibration=self.calibration("", _UNBOUND, {}))


class Fitting:
    """Fits to any choice of rows. What decisions would be is found once for all of them."""

    def __init__(
        self,
        catalog: Catalog,
        rows: Sequence[Row],
        objective: Objective,
        subject: Subject,
        out_of_scope_share: float | None = None,
    ) -> None:
        """Takes what to fit.

        Args:
            catalog: Without a calibration.
            rows: All labelled prompts.
            objective: What to reach.
            subject: What is to be right.
            out_of_scope_share: Share of traffic that nothing is for; None means that of the rows.
        """
        self.catalog = catalog
        self.rows = rows
        self.objective = objective
        self.subject = subject
        self.weights = row_weights(rows, out_of_scope_share)
        self._compared = np.array(
            [row.leads is not None and not row.predictions for row in rows], dtype=np.bool_
        )
        self._ranks: NDArray[np.int64] | None = None

    def fit(self, chosen: Flags | None = None, *, dial: float | None = None) -> Fit:
        """Fits to the chosen rows.

        Args:
            chosen: Which rows; None means all.
            dial: Where the dial is to rest, when that is settled; None fits it where the objective
                asks for it.

        Raises:
            CalibrationError: There are too few of a kind.
        """
        chosen = np.ones(len(self.rows), dtype=np.bool_) if chosen is None else chosen
        fitted = self._by_objective(chosen) if dial is None else Fit(dial=dial)
        matches, right, usable = self.matches(fitted.dial)
        usable = usable & chosen
        _check_events(right[usable])
        weights = self.weights[usable] / self.weights[usable].mean()
        return replace(
            fitted, curve=fit_curve(matches[usable], right[usable], weights), subject=self.subject
        )

    def verdicts(self, fitted: Fit) -> list[Verdict]:
        """Returns what all rows are decided by a fit."""
        catalog = fitted.applied(self.catalog)
        return [
            close_decision(catalog, row.opening, row.leads, row.predictions) for row in self.rows
        ]

    def matches(self, dial: float) -> tuple[Floats, Flags, Flags]:
        """Returns the matches with every threshold out of the way.

        Returns:
            Their figures, (n, 3); whether each is right; and whether there is one at all.
        """
        verdicts = self._decided(ACCEPT_ALL, dial)
        figures = np.zeros((len(self.rows), 3))
        right = np.zeros(len(self.rows), dtype=np.bool_)
        usable = np.zeros(len(self.rows), dtype=np.bool_)
        for place, (row, verdict) in enumerate(zip(self.rows, verdicts, strict=True)):
            outcome = verdict.semantic
            if outcome is None or outcome.chosen is None or row.leads is None or row.predictions:
                continue
            usable[place] = True
            figures[place] = match_figures(row.leads, outcome.chosen.rank, self.subject)
            right[place] = row.label.in_scope and row.is_right(verdict, self.subject)
        return figures, right, usable

    def _by_objective(self, chosen: Flags) -> Fit:
        objective = self.objective
        if isinstance(objective, MostAccurate):
            return self._thresholds(chosen, objective.granularity)
        if isinstance(objective, LimitedUnderRouting | LimitedShare):
            if self._ranks is None:
                self._ranks = np.array(
                    [[one.tier.rank for one in self._decided(None, dial)] for dial in DIALS]
                ).T
            tier = next(one for one in self.catalog.tiers if one.id == objective.tier)
            needs = np.array([row.label.tier == tier.id for row in self.rows])
            place = resting_place(
                objective, self._ranks[chosen], rank=tier.rank, needs_tier=needs[chosen]
            )
            return Fit(dial=DIALS[place])
        return Fit()

    def _thresholds(self, chosen: Flags, granularity: Granularity) -> Fit:
        outside = sum(not self.rows[one].label.in_scope for one in np.flatnonzero(chosen).tolist())
        if outside < LEAST_OUT_OF_SCOPE:
            raise CalibrationError(
                f"a threshold tells prompts that something is for from others, and only {outside}"
                f" labels are `oos` (`tier: none` in cases): {LEAST_OUT_OF_SCOPE - outside} are"
                " missing; add them, or keep the thresholds with --keep-thresholds"
            )
        scores, worths, tiers, tasks = self._worths()
        used = chosen & self._compared
        if not used.any():
            raise CalibrationError("no prompt is compared with utterances: rules decide them all")
        whole = fit_threshold(scores[used], worths[used])
        groups = {Granularity.TIER: tiers, Granularity.TASK: tasks}.get(granularity)
        own = {}
        for name in sorted(set(groups[used].tolist())) if groups is not None else ():
            inside = used & (groups == name)
            if inside.sum() >= LEAST_OF_GROUP:
                own[name] = round(fit_threshold(scores[inside], worths[inside]).value, DIGITS)
        by_tier = granularity is Granularity.TIER
        return Fit(
            threshold=whole,
            tier_thresholds=own if by_tier else {},
            task_thresholds={} if by_tier else own,
        )

    def _worths(self) -> tuple[Floats, Floats, NDArray[np.str_], NDArray[np.str_]]:
        """Returns best score, worth of rejection, best tier and best task of each row."""
        accepted = self._decided(ACCEPT_ALL, NEUTRAL_DIAL)
        rejected = self._decided(REJECT_ALL, NEUTRAL_DIAL)
        scores, worths = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        tiers, tasks = [""] * len(self.rows), [""] * len(self.rows)
        for place, row in enumerate(self.rows):
            outcome = accepted[place].semantic
            if outcome is None:
                continue
            scores[place] = outcome.best.score
            tiers[place] = self.catalog.tiers[outcome.best.rank].id
            tasks[place] = self.catalog.tasks[outcome.best.task].id
            worths[place] = float(row.is_right(rejected[place], self.subject)) - float(
                row.is_right(accepted[place], self.subject)
            )
        return scores, worths * self.weights, np.array(tiers), np.array(tasks)

    def _decided(self, threshold: float | None, dial: float) -> list[Verdict]:
        """Returns the verdicts with one threshold for all (None: the files') and a dial."""
        fixed = None
        if threshold is not None:
            fixed = FittedThreshold(value=threshold, low=threshold, high=threshold)
        return self.verdicts(Fit(threshold=fixed, dial=dial))


def row_weights(rows: Sequence[Row], out_of_scope_share: float | None) -> Floats:
    """Returns how much each row counts, with a mean of 1.

    Raises:
        CalibrationError: A share is given, and all rows or none are out of scope.
    """
    outside = np.array([not row.label.in_scope for row in rows], dtype=np.bool_)
    if out_of_scope_share is None:
        return np.ones(len(rows))
    if outside.all() or not outside.any():
        raise CalibrationError(
            "--out-of-scope-share needs labels of prompts that something is for, and of prompts"
            " that nothing is for (`oos`)"
        )
    present = float(outside.mean())
    inner, outer = (1.0 - out_of_scope_share) / (1.0 - present), out_of_scope_share / present
    return np.where(outside, outer, inner)


def folds(rows: Sequence[Row], count: int) -> NDArray[np.int64]:
    """Returns the fold of each row: labels spread evenly, by the content of the prompts alone."""
    order = sorted(
        range(len(rows)),
        key=lambda one: (str(rows[one].label), digest([rows[one].key])),
    )
    fold = np.empty(len(rows), dtype=np.int64)
    fold[order] = np.arange(len(rows)) % count
    return fold


def _check_events(right: Flags) -> None:
    events = int(min(right.sum(), (~right).sum()))
    if events < LEAST_EVENTS:
        rarer = "right" if right.sum() < (~right).sum() else "wrong"
        raise CalibrationError(
            f"a confidence needs matches that are right and matches that are wrong, and of"
            f" {len(right)} only {events} are {rarer}: {LEAST_EVENTS - events} are missing; label"
            " more prompts, harder ones above all"
        )
