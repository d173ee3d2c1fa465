"""A catalog of three priced models, samples, and a provider server that stands in for paid ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import CatalogFolder, write_catalog

from tierwise.testing import ProviderServer, ReceivedCall, Reply
from tierwise_server.commands.bench import main

MODELS = """\
# The models that there are keys for.
models:
  - id: small
    provider: openai
    name: small-1
    tier: budget # cheap
    price: {input: 1, output: 4}
    context_window: 8000
    max_output_tokens: 4000
    quality: 0.5
  - {id: middling, provider: anthropic, name: middling-1, tier: mid, price: {input: 4, output: 16},
     context_window: 8000, max_output_tokens: 4000}
  - id: big
    provider: openai
    name: big-1
    tier: premium
    price: {input: 10, output: 40}
    context_window: 8000
    max_output_tokens: 4000
  - id: judge
    provider: anthropic
    name: judge-1
    tier: premium
    price: {input: 1, output: 1}
    context_window: 8000
    max_output_tokens: 4000
"""

CITIES = ("Paris", "Rome", "Oslo", "Bern", "Wien", "Riga", "Baku", "Lima")

SAMPLES = "task: sql\nchecks: {exact: true}\nsamples:\n" + "".join(
    f"  - prompt: Say {city}.\n    reference: {city}\n" for city in CITIES
)


def last_text(call: ReceivedCall) -> str:
    """Returns the text of a call's last message, in the format of either provider."""
    content = call.body["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a benchmark needs, real but for the providers' models."""

    folder: Path
    catalog: CatalogFolder
    server: ProviderServer

    def write(self, name: str, text: str) -> str:
        """Writes a file and returns its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def arguments(self, *more: str, samples: str = "samples.yaml") -> list[str]:
        """Returns the arguments of a run in this world."""
        return [
            "--catalog",
            str(self.catalog.path),
            "--samples",
            str(self.folder / samples),
            "--run",
            str(self.folder / "run.jsonl"),
            *more,
        ]

    def answers(self, provider: str, model: str, right: Callable[[str], bool]) -> None:
        """Has a model repeat what it is told to say, where it is to be right."""

        def reply(call: ReceivedCall) -> Reply:
            said = last_text(call).removeprefix("Say ").rstrip(".\n")
            return Reply.text(said if right(said) else "I don't know")

        self.server.always(provider, reply, model=model)

    def bench(self, *more: str, samples: str = "samples.yaml") -> int:
        """Runs the command."""
        return main(self.arguments(*more, samples=samples))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with ProviderServer() as server:
        for provider, variable in (("openai", "OPENAI"), ("anthropic", "ANTHROPIC")):
            monkeypatch.setenv(f"{variable}_API_KEY", "sk-test-0123456789")
            monkeypatch.setenv(f"{variable}_BASE_URL", server.base_url(provider))
        made = World(
            folder=tmp_path,
            catalog=write_catalog(tmp_path / "catalog", models=MODELS),
            server=server,
        )
        made.write("samples.yaml", SAMPLES)
        yield made
