"""A report as one page that opens from disk: no script, and nothing is loaded from elsewhere."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from tierwise_server.reporting.charts import WIDTH, charts_of
from tierwise_server.reporting.prose import closing_notes, heading, headline, nothing_found
from tierwise_server.reporting.report import Report
from tierwise_server.reporting.table import ALERT
from tierwise_server.reporting.tables import report_tables


def render_html(report: Report) -> str:
    """Returns the page."""
    environment = Environment(
        loader=PackageLoader("tierwise_server.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    empty = nothing_found(report)
    return environment.get_template("report.html.j2").render(
        report=report,
        heading=heading(report),
        empty=empty,
        headline=() if empty else headline(report),
        tables=() if empty else report_tables(report),
        charts=charts_of(report),
        notes=() if empty else closing_notes(report),
        alert=ALERT,
        chart_width=WIDTH,
    )
