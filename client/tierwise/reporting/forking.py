"""What holds locks, connections or threads, and must not carry them into a forked process."""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """An object that is told of a fork of the process, on the thread that forks."""

    def before_fork(self) -> None:
        """Brings itself to rest; must return soon."""

    def after_fork_in_parent(self) -> None:
        """Goes on."""

    def after_fork_in_child(self) -> None:
        """Starts anew: no thread but this one is left, and a lock may have no owner any more."""


# Re-entrant, because a signal handler may fork while its own thread is in here.
_lock = threading.RLock()
_aware: WeakSet[ForkAware] = WeakSet()
_resting: list[ForkAware] = []
"""Those that were told that a fork is coming, in that order."""


def tell_of_forks(one: ForkAware) -> None:
    """Has an object told of forks for as long as it lives."""
    with _lock:
        _aware.add(one)


def _before() -> None:
    # Kept until after the fork, so that none is told of the end without the beginning.
    _lock.acquire()
    _resting.extend(_aware)
    for one in _resting:
        one.before_fork()


def _after_in_parent() -> None:
    for one in reversed(_resting):
        one.after_fork_in_parent()
    _resting.clear()
    _lock.release()


def _after_in_child() -> None:
    for one in reversed(_resting):
        one.after_fork_in_child()
    _resting.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(
        before=_before,
        after_in_parent=_after_in_parent,
        after_in_child=_after_in_child,
    )
