"""A small valid catalog, and ways to spoil it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tierwise_server.catalog.faults import CatalogInvalidError, Fault
from tierwise_server.catalog.loader import CatalogFiles, parse_catalog
from tierwise_server.catalog.model import Catalog

VALID = {
    "catalog.yaml": """\
tiers: [budget, premium]
default_tier: premium
threshold: 0.35
margin: 0.05
tie: default
languages: [en, de]
encoder: all-minilm-l6-v2
baseline_model: large
""",
    "tiers/budget.yaml": """\
tier: budget
description: Bounded work.
threshold: 0.3
tasks:
  summarization:
    description: Shorten a given text.
    utterances:
      - summarize this email in two sentences
      - "tl;dr: the thread"
  translation:
    description: Put a text into another language.
    threshold: 0.45
    utterances:
      - translate this to French
""",
    "tiers/premium.yaml": """\
tier: premium
tasks:
  design:
    description: Design a system.
    utterances:
      - design a queue that loses nothing
""",
    "rules.yaml": """\
override:
  - name: review-is-premium
    when: {task_tag: [code-review]}
    then: {tier: premium}
  - name: images-need-vision
    when: {attachments: [image]}
    then: {require: [vision]}
default:
  - name: long-with-code
    when: {min_characters: 4000, regex: '```'}
    then: {task: design}
""",
    "models.yaml": """\
models:
  - id: small
    provider: openai
    name: Small-1.5
    tier: budget
    price: {input: 0.15, output: 0.60, cached_input: 0.075}
    context_window: 128000
    max_output_tokens: 16000
    capabilities: [tools, vision]
    quality: 0.7
    limits: {requests_per_minute: 1000}
    labels: {region: eu}
    base_url: http://localhost:8000/v1
    weight: 2.5
    token_family: llama
  - id: large
    provider: anthropic
    name: large-2
    tier: premium
    price: catalog
    context_window: 200000
    max_output_tokens: 64000
""",
    "cases/basics.yaml": """\
- prompt: shorten the article
  tier: budget
  task: summarization
  tags: [easy]
- messages:
    - {role: system, text: Be brief.}
    - {role: user, text: ok do it}
  tier: none
  language: en
  previous_tier: premium
""",
}

Edit = tuple[str, str, str]


@pytest.fixture
def valid_files() -> dict[str, str]:
    return dict(VALID)


@pytest.fixture
def write_catalog(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Writes files into a new folder and returns it."""

    def write(files: Mapping[str, str]) -> Path:
        folder = tmp_path / "catalog"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def parse() -> Callable[[Mapping[str, str | bytes]], Catalog]:
    """Parses files that exist only in memory."""
    return _parse


@pytest.fixture
def faults_of() -> Callable[[Mapping[str, str | bytes]], tuple[Fault, ...]]:
    """Returns the faults of files that do not make a catalog."""

    def faults(files: Mapping[str, str | bytes]) -> tuple[Fault, ...]:
        with pytest.raises(CatalogInvalidError) as caught:
            _parse(files)
        return caught.value.faults

    return faults


@pytest.fixture
def edited() -> Callable[..., dict[str, str]]:
    """Returns the valid files after edits, each a file, the old text and the new one."""

    def edit(*edits: Edit) -> dict[str, str]:
        files = dict(VALID)
        for name, old, new in edits:
            assert files[name].count(old) == 1, (name, old)
            files[name] = files[name].replace(old, new)
        return files

    return edit


def _parse(files: Mapping[str, str | bytes]) -> Catalog:
    content = {
        name: text.encode() if isinstance(text, str) else text for name, text in files.items()
    }
    return parse_catalog(CatalogFiles(content=content))
