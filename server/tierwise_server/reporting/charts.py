"""The charts of a report as shapes with places and sizes; the page's template draws them as SVG.

Colours are classes, which the page sets for light and dark. Nothing is told by colour alone: every
bar has its figure beside it, and every chart has a table.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.reporting.calls import CallFigures
from tierwise_server.reporting.money_tables import balance_parts
from tierwise_server.reporting.rates import FALLBACK_ALERT, share
from tierwise_server.reporting.report import Report
from tierwise_server.reporting.rows import day_number
from tierwise_server.reporting.shuffle import ShuffleControl
from tierwise_server.reporting.wording import named, percent, places_for, usd

WIDTH: Final = 720
_LABEL: Final = 200
"""Width of the names beside bars."""
_FIGURE: Final = 110
"""Width of the figures beside bars."""
_ROW: Final = 30
_BAR: Final = 18
_PLOT_HEIGHT: Final = 200
_LEFT: Final = 70
_TOP: Final = 14
_BOTTOM: Final = 28
_RIGHT: Final = 20
_MOST_LABELS: Final = 8
_NAME_CHARACTERS: Final = 26


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A bar."""

    x: float
    y: float
    width: float
    height: float
    paint: str
    tip: str
    """What it stands for, in words."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    paint: str

    @property
    def path(self) -> str:
        """The points as SVG takes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True, slots=True)
class Label:
    """Words in a chart."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(slots=True, kw_only=True)
class Chart:
    """A chart with its description and, where no table shows them, its figures."""

    id: str
    title: str
    description: str
    """What is to be seen, in one sentence."""
    height: float = 0
    rectangles: list[Rectangle] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    legend: tuple[tuple[str, str], ...] = ()
    """Paints and what they stand for."""
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    start: float
    end: float
    figure: str
    paint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalBar:
    """A mean and its interval."""

    name: str
    mean: float
    low: float
    high: float
    figure: str
    """As it is written beside the bar."""
    paint: str


def charts_of(report: Report) -> dict[str, list[Chart]]:
    """Returns the charts by the table that they stand beside."""
    if not (report.overall.calls or report.decisions.decisions):
        return {}
    charts: dict[str, list[Chart]] = {"decisions": list(_decisions(report))}
    if report.overall.calls:
        days = _every_day(report.by_day)
        charts["money"] = [_saving(report), _cost_by_day(days)]
        charts["shares"] = [_shares(report)]
        charts["fallback"] = [_fallback_by_day(days)]
    if isinstance(report.shuffle, ShuffleControl):
        charts["shuffle"] = [_interval(report.shuffle)]
    return charts


def _saving(report: Report) -> Chart:
    balance = report.overall.balance
    places = places_for(balance.counterfactual)
    saving, routing, unsuccessful, calls = balance_parts(balance, places)
    left = balance.counterfactual
    bars = [_Bar("counterfactual", 0, left, usd(left, places), "neutral")]
    for name, cost, shown, paint in (
        ("calls that answered", balance.calls, calls, "main"),
        ("failed and rejected", balance.unsuccessful, unsuccessful, "warn"),
        ("routing", balance.routing, routing, "other"),
    ):
        bars.append(_Bar(name, left - cost, left, shown, paint))
        left -= cost
    paint = "good" if left >= 0 else "warn"
    bars.append(_Bar("net saving", 0, left, saving, paint))
    chart = Chart(
        id="saving",
        title="From the counterfactual to the net saving",
        description=f"Of {usd(balance.counterfactual, places)}, {usd(left, places)} are saved.",
    )
    _draw_bars(chart, bars)
    return chart


def _shares(report: Report) -> Chart:
    bars: list[_Bar] = []
    marks: list[tuple[int, float]] = []
    for one in report.tier_shares:
        if one.guide is not None:
            marks.append((len(bars), one.guide))
        for number, (what, value, paint) in enumerate(
            (
                ("calls", one.calls, "main"),
                ("tokens", one.tokens, "other"),
                ("cost", one.cost, "good"),
            )
        ):
            name = f"{named(one.tier)}: {what}" if number == 0 else what
            bars.append(_Bar(name, 0, value or 0, percent(value), paint))
    chart = Chart(
        id="tier-shares",
        title="Shares of calls, tokens and cost by tier",
        description="; ".join(
            f"{named(one.tier)} has {percent(one.calls)} of the calls and {percent(one.cost)} of"
            " the cost"
            for one in report.tier_shares
        )
        + ".",
        legend=(("main", "calls"), ("other", "tokens"), ("good", "cost"))
        + ((("limit", "guide"),) if marks else ()),
    )
    scale = _draw_bars(chart, bars, least_end=max((guide for _, guide in marks), default=0))
    for row, guide in marks:
        x = _LABEL + guide * scale
        top = _TOP + row * _ROW - 4
        chart.strokes.append(Stroke(((x, top), (x, top + 3 * _ROW - 4)), "limit"))
    return chart


def _decisions(report: Report) -> Iterator[Chart]:
    decisions = report.decisions
    if not decisions.decisions:
        return
    bars = [
        _Bar(kind, 0, number, percent(share(number, decisions.decisions)), "main")
        for kind, number in decisions.by_kind
    ]
    kind, number = max(decisions.by_kind, key=lambda one: one[1])
    chart = Chart(
        id="kinds",
        title="What decided",
        description=f"Most decisions, {percent(share(number, decisions.decisions))}, are {kind}.",
    )
    _draw_bars(chart, bars)
    yield chart


def _interval(found: ShuffleControl) -> Chart:
    one = IntervalBar(
        name="gain over the shuffle",
        mean=found.gain,
        low=found.low,
        high=found.high,
        figure=f"{found.gain:+.4f}",
        paint={"better": "good", "worse": "warn"}.get(found.verdict, "neutral"),
    )
    chart = Chart(
        id="gain",
        title="Gain in quality over the shuffled mix",
        description=f"The gain is {found.gain:+.4f}, between {found.low:+.4f} and"
        f" {found.high:+.4f}.",
        legend=(("limit", "no gain"),),
    )
    draw_intervals(chart, [one], limit=0.0)
    least, most = min(found.low, 0.0), max(found.high, 0.0)
    chart.labels.append(Label(_LABEL, _TOP + _ROW + 10, f"{least:+.3f}"))
    chart.labels.append(Label(WIDTH - _FIGURE, _TOP + _ROW + 10, f"{most:+.3f}", "end"))
    chart.height += 16
    return chart


def draw_intervals(chart: Chart, intervals: Sequence[IntervalBar], *, limit: float) -> None:
    """Draws intervals below each other, each with its mean, and a limit across all of them."""
    bars = [_Bar(one.name, one.low, one.high, one.figure, one.paint) for one in intervals]
    least = min(0.0, *(one.low for one in intervals))
    scale = _draw_bars(chart, bars, least_end=limit)
    bottom = _TOP + (len(bars) - 1) * _ROW + _BAR + 6
    x = _LABEL + (limit - least) * scale
    chart.strokes.append(Stroke(((x, _TOP - 6), (x, bottom)), "limit"))
    for number, one in enumerate(intervals):
        x, y = _LABEL + (one.mean - least) * scale, _TOP + number * _ROW
        chart.strokes.append(Stroke(((x, y - 4), (x, y + _BAR + 4)), "ink"))


def _draw_bars(chart: Chart, bars: Sequence[_Bar], *, least_end: float = 0) -> float:
    """Draws bars below each other; returns the width of one unit."""
    low = min(0.0, *(min(one.start, one.end) for one in bars))
    high = max(least_end, *(max(one.start, one.end) for one in bars))
    scale = (WIDTH - _LABEL - _FIGURE) / ((high - low) or 1)
    for number, one in enumerate(bars):
        y = _TOP + number * _ROW
        start, end = sorted((one.start, one.end))
        chart.rectangles.append(
            Rectangle(
                _LABEL + (start - low) * scale,
                y,
                max((end - start) * scale, 1),
                _BAR,
                one.paint,
                f"{one.name}: {one.figure}",
            )
        )
        chart.labels.append(Label(_LABEL - 10, y + 14, _short(one.name), "end"))
        chart.labels.append(Label(_LABEL + (end - low) * scale + 8, y + 14, one.figure))
    if low < 0:
        zero = _LABEL - low * scale
        chart.strokes.append(
            Stroke(((zero, _TOP - 6), (zero, _TOP + len(bars) * _ROW - 6)), "grid")
        )
    chart.height = _TOP + len(bars) * _ROW
    return scale


@dataclass(frozen=True, slots=True)
class _Day:
    date: datetime.date
    figures: CallFigures | None
    """None on a day without calls."""


def _every_day(figures: Sequence[CallFigures]) -> list[_Day]:
    """Returns the days from the first to the last with calls, those between without included."""
    found = {datetime.date.fromisoformat(one.label): one for one in figures}
    first, last = min(found), max(found)
    return [
        _Day(day, found.get(day))
        for day in (
            first + datetime.timedelta(days=offset)
            for offset in range(day_number(last) - day_number(first) + 1)
        )
    ]


def _cost_by_day(days: Sequence[_Day]) -> Chart:
    costs = [one.figures.known_cost_nano_usd if one.figures else 0 for one in days]
    without = [one.figures.balance.counterfactual if one.figures else 0 for one in days]
    places = places_for(max(*costs, *without))
    total = (usd(sum(costs), places), usd(sum(without), places))
    chart = Chart(
        id="days",
        title="Cost and counterfactual by day",
        description=f"{total[0]} were spent; on the baseline model it would have been {total[1]}.",
        legend=(("main", "cost"), ("neutral", "counterfactual")),
        headings=("day", "cost", "counterfactual"),
        rows=tuple(
            (one.date.isoformat(), usd(cost, places), usd(other, places))
            for one, cost, other in zip(days, costs, without, strict=True)
        ),
    )
    top = _axis(chart, max(*costs, *without) / NANO_USD_PER_USD, "${:,.6g}")
    _columns(chart, days, [one / NANO_USD_PER_USD / top for one in without], "neutral", wide=True)
    _columns(chart, days, [one / NANO_USD_PER_USD / top for one in costs], "main", wide=False)
    _dates(chart, days)
    return chart


def _fallback_by_day(days: Sequence[_Day]) -> Chart:
    limit = float(FALLBACK_ALERT)
    shares = [
        (share(one.figures.fallbacks, one.figures.calls) or 0.0) if one.figures else 0.0
        for one in days
    ]
    above = sum(1 for one in shares if one > limit)
    chart = Chart(
        id="fallback-days",
        title="Fallback by day",
        description=f"{above} of {len(days)} days are above {percent(limit)}.",
        legend=(
            ("main", f"up to {percent(limit)}"),
            ("warn", f"above {percent(limit)}"),
            ("limit", percent(limit)),
        ),
        headings=("day", "fallback"),
        rows=tuple(
            (one.date.isoformat(), percent(value)) for one, value in zip(days, shares, strict=True)
        ),
    )
    top = _axis(chart, max(2 * limit, *shares), "{:.3g} %", factor=100)
    paints = ["warn" if one > limit else "main" for one in shares]
    _columns(chart, days, [one / top for one in shares], paints, wide=False)
    y = _TOP + _PLOT_HEIGHT * (1 - limit / top)
    chart.strokes.append(Stroke(((_LEFT, y), (WIDTH, y)), "limit"))
    _dates(chart, days)
    return chart


def _axis(chart: Chart, most: float, shown: str, factor: float = 1) -> float:
    """Draws the lines of an axis from zero; returns the value at its top."""
    step = _round_step(most / 4) if most > 0 else 1.0
    count = 1
    while count * step < most:
        count += 1
    for number in range(count + 1):
        y = _TOP + _PLOT_HEIGHT * (1 - number / count)
        chart.strokes.append(Stroke(((_LEFT, y), (WIDTH, y)), "grid"))
        chart.labels.append(Label(_LEFT - 8, y + 4, shown.format(number * step * factor), "end"))
    chart.height = _TOP + _PLOT_HEIGHT + _BOTTOM
    return count * step


def _round_step(least: float) -> float:
    """Returns the smallest of 1, 2, 2.5 or 5 times a power of ten that is not below a value."""
    power = 10.0 ** (len(f"{least:.0f}") - 1) if least >= 1 else 1.0
    while power > least:
        power /= 10
    return next((one * power for one in (1, 2, 2.5, 5) if one * power >= least), 10 * power)


def _columns(
    chart: Chart,
    days: Sequence[_Day],
    heights: Sequence[float],
    paints: str | Sequence[str],
    *,
    wide: bool,
) -> None:
    slot = (WIDTH - _LEFT - _RIGHT) / len(days)
    width = min(slot * (0.8 if wide else 0.45), 40 if wide else 22)
    for number, (day, height) in enumerate(zip(days, heights, strict=True)):
        size = height * _PLOT_HEIGHT
        paint = paints if isinstance(paints, str) else paints[number]
        figures = ", ".join(chart.rows[number][1:])
        chart.rectangles.append(
            Rectangle(
                _LEFT + slot * number + (slot - width) / 2,
                _TOP + _PLOT_HEIGHT - size,
                width,
                size,
                paint,
                f"{day.date.isoformat()}: {figures}",
            )
        )


def _dates(chart: Chart, days: Sequence[_Day]) -> None:
    slot = (WIDTH - _LEFT - _RIGHT) / len(days)
    every = -(-len(days) // _MOST_LABELS)
    for number in range(0, len(days), every):
        x = _LEFT + slot * (number + 0.5)
        text = days[number].date.isoformat()
        chart.labels.append(Label(x, _TOP + _PLOT_HEIGHT + 18, text[5:], "middle"))


def _short(name: str) -> str:
    if len(name) <= _NAME_CHARACTERS:
        return name
    return name[: _NAME_CHARACTERS - 1] + "…"
