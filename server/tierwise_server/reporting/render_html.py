"""A report as one page."""

from __future__ import annotations

from tierwise_server.reporting.charts import charts_of
from tierwise_server.reporting.page import Page, render_page
from tierwise_server.reporting.prose import closing_notes, heading, headline, nothing_found
from tierwise_server.reporting.report import Report
from tierwise_server.reporting.tables import report_tables


def render_html(report: Report) -> str:
    """Returns the page."""
    empty = nothing_found(report)
    period = report.period
    return render_page(
        Page(
            name="Routing report",
            title=f"Routing report, {period.since} to {period.until}",
            heading=heading(report),
            empty=empty,
            headline=() if empty else headline(report),
            tables=() if empty else report_tables(report),
            charts=charts_of(report),
            notes=() if empty else closing_notes(report),
            made_at=report.made_at,
        )
    )
