"""Keeps the README's table of settings equal to the settings. `make docs` rewrites it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from tierwise_server.settings import Settings, environment_variable, shown_default

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- settings: made by `make docs` -->", "<!-- end of settings -->"


def settings_table() -> str:
    """Returns the settings as a Markdown table."""
    rows = ["| flag | variable | default | what it does |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        flag = f"`--{field.name.replace('_', '-')}`"
        default = f"`{shown_default(field)}`" if shown_default(field) else ""
        text = field.metadata["help"].replace("|", "\\|")
        rows.append(f"| {flag} | `{environment_variable(field.name)}` | {default} | {text} |")
    return "\n".join(rows)


def with_current_table(text: str) -> str:
    """Returns the README with its table brought up to date."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_current_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
