"""The charts of a benchmark's page."""

from __future__ import annotations

from tierwise_server.benching.cells import Cell
from tierwise_server.benching.findings import Findings
from tierwise_server.reporting.charts import Chart, IntervalBar, draw_intervals


def bench_charts(found: Findings) -> dict[str, list[Chart]]:
    """Returns the charts by the table that they stand beside."""
    chosen = {one.task: one.model for one in found.choices}
    charts = []
    for task in found.tasks:
        cells = [found.cells[task, model] for model in found.models]
        bars = [_bar(one, found.bar) for one in cells if one.quality is not None]
        if not bars:
            continue
        chart = Chart(
            id=f"quality-{task}",
            title=f"{task}: quality by model",
            description=(
                f"{chosen[task]} is the cheapest that clears the bar of {found.bar:g}."
                if chosen[task]
                else f"No model clears the bar of {found.bar:g} with the confidence asked for."
            ),
            legend=(
                ("good", "clears the bar"),
                ("neutral", "may"),
                ("warn", "does not"),
                ("limit", "the bar"),
            ),
        )
        draw_intervals(chart, bars, limit=found.bar)
        charts.append(chart)
    return {"matrix": charts}


def _bar(cell: Cell, bar: float) -> IntervalBar:
    quality = cell.quality
    assert quality is not None  # noqa: S101 - the caller has looked
    paint = "neutral"
    if quality.low >= bar:
        paint = "good"
    elif quality.high < bar:
        paint = "warn"
    return IntervalBar(
        name=cell.model,
        mean=quality.mean,
        low=quality.low,
        high=quality.high,
        figure=f"{quality.mean:.2f}",
        paint=paint,
    )
