"""A report as one page that opens from disk: no script, and nothing is loaded from elsewhere."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

from tierwise_server.reporting.charts import WIDTH, Chart
from tierwise_server.reporting.table import ALERT, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows, from its top to its end."""

    name: str
    """The heading."""
    title: str
    """As windows and bookmarks show it."""
    heading: Sequence[str]
    """Lines below the name."""
    empty: str | None = None
    """Why there is nothing to show. None where there is something."""
    headline: Sequence[tuple[str, str, str]] = ()
    """Figures that a person looks for first, each with its name and a remark."""
    tables: Sequence[Table] = ()
    charts: Mapping[str, Sequence[Chart]] = field(default_factory=dict)
    """By the id of the table that they stand beside."""
    notes: Sequence[str] = ()
    made_at: datetime.datetime
    """In UTC."""


def render_page(page: Page) -> str:
    """Returns the page."""
    environment = Environment(
        loader=PackageLoader("tierwise_server.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        page=page, alert=ALERT, chart_width=WIDTH
    )
