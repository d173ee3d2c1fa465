"""The caller's functions are called, and their failures go no further."""

from __future__ import annotations

import logging

import pytest

from tierwise.hooks import RouterOutageEvent, notify

EVENT = RouterOutageEvent(since_s=1.0, routerless_decisions=2)


def test_a_hook_hears_the_event() -> None:
    heard: list[RouterOutageEvent] = []
    notify(heard.append, EVENT)
    notify(None, EVENT)
    assert heard == [EVENT]


def test_a_hook_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def hook(_: RouterOutageEvent) -> None:
        raise ValueError("of the hook")

    notify(hook, EVENT)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "a hook failed on RouterOutageEvent"
    assert record.exc_info is not None


def test_an_interrupt_is_no_failure_of_a_hook() -> None:
    def hook(_: RouterOutageEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notify(hook, EVENT)
