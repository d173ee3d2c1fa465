"""Values held against the types that their dataclass declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import pytest

from tierwise.declared_types import check_types
from tierwise.errors import InvalidRequestError


class Colour(IntEnum):
    """A class with few objects."""

    RED = 1


class Sings(Protocol):
    """What no type check at run time can tell."""

    def sing(self) -> None:
        """Sings."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A field of every form."""

    text: str = "a"
    number: int = 1
    share: float = 0.5
    wanted: bool = False
    colour: Colour | None = None
    names: tuple[str, ...] = ()
    content: str | tuple[Colour, ...] = ""
    colours: frozenset[Colour] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hear: Callable[[str], object] | None = None
    singer: Sings | None = None


FITTING: list[dict[str, Any]] = [
    {},
    {"share": 1},
    {"colour": Colour.RED},
    {"names": ["a", "b"]},
    {"content": (Colour.RED,)},
    {"colours": {Colour.RED}},
    {"labels": {"a": "b"}},
    {"extras": {"a": {"b": [object()]}}},
    {"hear": print},
    {"singer": object()},
]


@pytest.mark.parametrize("fields", FITTING)
def test_what_fits_passes(fields: dict[str, Any]) -> None:
    check_types(Thing(**fields))


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"text": 1}, "text", "must be str, not int"),
        ({"text": None}, "text", "must be str, not NoneType"),
        ({"number": "1"}, "number", "must be a whole number, not str"),
        ({"number": True}, "number", "must be a whole number, not bool"),
        ({"number": 1.0}, "number", "must be a whole number, not float"),
        ({"share": "1"}, "share", "must be a number, not str"),
        ({"share": False}, "share", "must be a number, not bool"),
        ({"wanted": 1}, "wanted", "must be bool, not int"),
        ({"colour": 1}, "colour", "must be Colour or None, not int"),
        ({"names": "ab"}, "names", "must be a tuple, not str"),
        ({"names": ("a", 2)}, "names[1]", "must be str, not int"),
        ({"content": (1,)}, "content[0]", "must be Colour, not int"),
        ({"content": 1}, "content", "must be str or a tuple, not int"),
        ({"colours": (Colour.RED,)}, "colours", "must be a frozenset, not tuple"),
        ({"colours": {"red"}}, "colours", "must be Colour, not str"),
        ({"labels": [1]}, "labels", "must be a mapping, not list"),
        ({"labels": {1: "a"}}, "labels", "must be str, not int"),
        ({"labels": {"a": 1}}, "labels['a']", "must be str, not int"),
        ({"extras": {"a": [1]}}, "extras['a']", "must be a mapping, not list"),
        ({"hear": 1}, "hear", "must be a function or None, not int"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(
    fields: dict[str, Any], path: str, message: str
) -> None:
    for prefix, where in (("", path), ("thing", f"thing.{path}")):
        with pytest.raises(InvalidRequestError) as caught:
            check_types(Thing(**fields), prefix)
        assert (caught.value.field, caught.value.message) == (where, message)
