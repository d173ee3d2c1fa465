"""Which model answered, by the name that the provider gives."""

from __future__ import annotations

import pytest

from tierwise.served_model import is_another_model


@pytest.mark.parametrize(
    ("asked", "served", "expected"),
    [
        ("gpt-4o", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("gpt-4o", "gpt-4o-mini", True),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", True),
        ("gpt-3.5-turbo", "gpt-3.5-turbo-0125", False),
        ("claude-sonnet-4", "claude-sonnet-4-20250514", False),
        ("claude-sonnet-4", "claude-sonnet-4-5", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", False),
        ("mistral-small-latest", "mistral-small-2506", False),
        ("gemini-2.5-pro", "gemini-2.5-pro-preview-05-06", False),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite", True),
        ("gemini-2.0-flash", "models/gemini-2.0-flash-001", False),
        ("llama3.2", "llama3.2:latest", False),
        ("openai/gpt-oss-20b", "gpt-oss-20b", False),
        ("Big-Model", "big-model", False),
        ("", "gpt-4o", None),
        ("gpt-4o", "", None),
    ],
)
def test_another_model_is_told_from_a_version(
    asked: str, served: str, expected: bool | None
) -> None:
    assert is_another_model(asked, served) is expected
