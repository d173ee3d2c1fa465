"""Whether the model that answered is the one that was asked for."""

from __future__ import annotations

import re

_VERSION = re.compile(
    r"[-@:](?:latest|\d{3,}[\d-]*|(?:preview|exp)(?:-\d{2,}[\d-]*)?|v\d+(?::\d+)?)"
)
"""What providers add to a model's name when they say which version of it answered: a date, a number
of at least three digits, `latest`, a preview or a version."""


def is_another_model(asked: str, served: str) -> bool | None:
    """Returns whether another model answered than the one asked for; None when it is not known.

    A version of the model is the model. `gpt-4o-2024-08-06` is a `gpt-4o`; `gpt-4o-mini` is not.
    """
    if not asked or not served:
        return None
    asked, served = _plain(asked), _plain(served)
    if asked == served:
        return False
    return not (served.startswith(asked) and _VERSION.fullmatch(served[len(asked) :]))


def _plain(name: str) -> str:
    """Returns a name in lower case, without the path before it and without `-latest`."""
    return name.lower().rpartition("/")[2].removesuffix("-latest").removesuffix(":latest")
