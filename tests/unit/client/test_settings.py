"""What a client may be told."""

from __future__ import annotations

import math

import pytest

from tierwise.errors import InvalidRequestError
from tierwise.settings import ClientSettings


@pytest.mark.parametrize("name", ["router_timeout_s", "chat_timeout_s", "call_timeout_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_time_limit_is_above_zero(name: str, value: float) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^{name}: must be above 0"):
        ClientSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["first_wait_s", "longest_wait_s"])
@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_a_wait_is_not_negative(name: str, value: float) -> None:
    assert getattr(ClientSettings(**{name: 0.0}), name) == 0.0  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=rf"^{name}: must be 0 or more"):
        ClientSettings(**{name: value})  # type: ignore[arg-type]


def test_the_defaults_bound_every_chat() -> None:
    settings = ClientSettings()
    assert (settings.router_timeout_s, settings.chat_timeout_s) == (0.25, 120.0)
    assert (settings.first_wait_s, settings.longest_wait_s) == (0.5, 30.0)
    assert settings.budget.escalation_share == 0.2
    assert settings.report_outcomes
