"""The log's lines and the counting of calls."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from tierwise_server.telemetry import JsonFormatter, Telemetry


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {
            "name": "tierwise_server.x",
            "levelname": "INFO",
            "msg": message,
            "args": arguments,
            **extra,
        }
    )
    made.created, made.msecs = 1_750_000_000.25, 250.0
    return made


def test_a_record_is_one_object_on_one_line() -> None:
    line = JsonFormatter().format(
        record("two\nlines of %s", "text", catalog="default", faults=["a"])
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2025-06-15T15:06:40.250Z",
        "level": "info",
        "logger": "tierwise_server.x",
        "message": "two\nlines of text",
        "catalog": "default",
        "faults": ["a"],
    }


def test_an_exception_is_part_of_the_object() -> None:
    try:
        raise ValueError("broken")  # noqa: TRY301 - to have one with a traceback
    except ValueError:
        failed = record("failed", exc_info=sys.exc_info())
    entry = json.loads(JsonFormatter().format(failed))
    assert entry["exception"].endswith("ValueError: broken")


def test_values_that_json_does_not_know_are_shown_as_text() -> None:
    entry = json.loads(JsonFormatter().format(record("x", path=sys)))
    assert "module 'sys'" in entry["path"]


@pytest.mark.parametrize(
    ("setting", "logged"),
    [("all", ["OK", "NOT_FOUND"]), ("failures", ["NOT_FOUND"]), ("none", [])],
)
def test_calls_are_logged_as_the_setting_says(
    setting: str, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = Telemetry(log_requests=setting)
    with caplog.at_level(logging.INFO):
        telemetry.call_ended("RoutePrompt", "OK", 0.001)
        telemetry.call_ended("RoutePrompt", "NOT_FOUND", 0.001)
    assert [vars(one)["code"] for one in caplog.records] == logged


def test_calls_are_counted_by_method_and_code() -> None:
    telemetry = Telemetry()
    for code in ("OK", "OK", "ABORTED"):
        telemetry.call_ended("ReloadCatalog", code, 0.002)

    def count(code: str) -> float | None:
        labels = {"method": "ReloadCatalog", "code": code}
        return telemetry.registry.get_sample_value("tierwise_calls_total", labels)

    assert (count("OK"), count("ABORTED"), count("INTERNAL")) == (2, 1, None)


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Telemetry(), Telemetry()
    one.call_ended("RoutePrompt", "OK", 0.001)
    labels = {"method": "RoutePrompt", "code": "OK"}
    assert other.registry.get_sample_value("tierwise_calls_total", labels) is None
