"""Holds the fields of a dataclass against the types that it declares.

For what callers make, before anything is sent: most of them check no types beforehand, and an
`AttributeError` from the depths of a library says nothing of the field that was wrong.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from inspect import isclass
from types import NoneType
from typing import Any, NamedTuple

from tierwise.errors import InvalidRequestError


class _Fault(NamedTuple):
    path: str
    wanted: str
    given: object


_Check = Callable[[object, str], _Fault | None]
"""Returns what is wrong with the value of a field. Takes the value and its path."""

_CHECKS: dict[type, tuple[tuple[str, _Check], ...]] = {}
"""By field, of the classes that were looked at."""


def check_types(value: Any, path: str = "") -> None:  # noqa: ANN401 - of any dataclass
    """Refuses an object of a dataclass whose fields are not of their declared types.

    Fields of those fields are not looked at. Lists pass for tuples and sets for frozen ones, as
    whole numbers do for floats; a bool passes for no number.

    Args:
        value: The object.
        path: Its field in whatever holds it. Empty for an object on its own.

    Raises:
        InvalidRequestError: A field is of another type.
    """
    kind = type(value)
    checks = _CHECKS.get(kind) or _CHECKS.setdefault(kind, _checks_of(kind))
    for name, check in checks:
        fault = check(getattr(value, name), f"{path}.{name}" if path else name)
        if fault is not None:
            given = type(fault.given).__name__
            raise InvalidRequestError(f"must be {fault.wanted}, not {given}", field=fault.path)


def _checks_of(kind: type[Any]) -> tuple[tuple[str, _Check], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((one.name, _check_for(hints[one.name])) for one in fields(kind))


def _check_for(hint: Any) -> _Check:  # noqa: ANN401 - a type of any form
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return _class(hint)
    if origin is Callable:
        return lambda value, path: None if callable(value) else _Fault(path, "a function", value)
    if origin is tuple:
        return _collection((tuple, list), "a tuple", _check_for(inner[0]))
    if origin is frozenset:
        return _collection((frozenset, set), "a frozenset", _check_for(inner[0]))
    if origin is Mapping:
        return _mapping(_check_for(inner[0]), _check_for(inner[1]))
    return _union(tuple(map(_check_for, inner)))


def _class(kind: Any) -> _Check:  # noqa: ANN401 - what is no class passes for anything
    if kind is int:
        return _number((int,), "a whole number")
    if kind is float:
        return _number((int, float), "a number")
    if kind is Any or not isclass(kind) or getattr(kind, "_is_protocol", False):
        return lambda _value, _path: None
    words = "None" if kind is NoneType else kind.__name__
    return lambda value, path: None if isinstance(value, kind) else _Fault(path, words, value)


def _number(kinds: tuple[type, ...], words: str) -> _Check:
    def check(value: object, path: str) -> _Fault | None:
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        return None if fits else _Fault(path, words, value)

    return check


def _union(choices: tuple[_Check, ...]) -> _Check:
    def check(value: object, path: str) -> _Fault | None:
        faults = []
        for choice in choices:
            fault = choice(value, path)
            if fault is None:
                return None
            faults.append(fault)
        # What is a collection, as one of them wants, is wrong within.
        inner = [one for one in faults if one.path != path]
        return inner[0] if inner else _Fault(path, " or ".join(f.wanted for f in faults), value)

    return check


def _collection(kinds: tuple[type[Collection[object]], ...], words: str, item: _Check) -> _Check:
    def check(value: object, path: str) -> _Fault | None:
        if not isinstance(value, kinds):
            return _Fault(path, words, value)
        numbered = isinstance(value, Sequence)
        faults = (
            item(one, f"{path}[{number}]" if numbered else path) for number, one in enumerate(value)
        )
        return next((one for one in faults if one is not None), None)

    return check


def _mapping(key: _Check, item: _Check) -> _Check:
    def check(value: object, path: str) -> _Fault | None:
        if not isinstance(value, Mapping):
            return _Fault(path, "a mapping", value)
        for name, one in value.items():
            fault = key(name, path) or item(one, f"{path}[{name!r}]")
            if fault is not None:
                return fault
        return None

    return check
