import json
from pathlib import Path

import pytest

from tierwise_server.commands.models import main

FILES = {
    "catalog.yaml": "tiers: [budget, premium]\ndefault_tier: budget\n",
    "tiers/budget.yaml": (
        "tier: budget\ntasks:\n  chat:\n    description: Chat.\n    utterances: [hello]\n"
    ),
    "tiers/premium.yaml": (
        "tier: premium\ntasks:\n  design:\n    description: Design.\n    utterances: [queue]\n"
    ),
}

MODEL = """\
  - id: {id}
    provider: {provider}
    name: {name}
    tier: {tier}
    price: {price}
    context_window: 128000
    max_output_tokens: 16000
    capabilities: [vision, tools]
"""


def write_catalog(folder: Path, *models: dict[str, str]) -> Path:
    """Writes a catalog with these models, the dearer tier first."""
    for path, text in FILES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    if models:
        entries = "".join(MODEL.format(**model) for model in models)
        (folder / "models.yaml").write_text(f"models:\n{entries}")
    return folder


TOP = {
    "id": "top",
    "provider": "anthropic",
    "name": "claude-haiku-5-5",
    "tier": "premium",
    "price": "catalog",
}
OWN = {
    "id": "own",
    "provider": "vllm",
    "name": "mine",
    "tier": "budget",
    "price": "{input: 0.15, output: 0.6, per_call: 0.002}",
}
SECRET = {"id": "secret", "provider": "vllm", "name": "x", "tier": "budget", "price": "unknown"}


def test_the_table_lists_tiers_in_order_with_prices_and_their_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--catalog", str(write_catalog(tmp_path, TOP, OWN, SECRET))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["own", "secret", "top"]
    assert lines[1].split()[3:9] == ["mine", "0.15", "0.60", "0.002", "128,000", "models.yaml"]
    assert "unknown" in lines[2]
    assert "genai-prices" in lines[3]
    assert "2026-11-09" in lines[3]
    assert "0.10+" in lines[3]
    assert lines[3].endswith("tools, vision")
    assert "USD for a million tokens" in lines[-1]
    assert "1 prices from a dated list, 1 stated in the catalog, 1 unknown" in lines[-1]


def test_json_carries_exact_amounts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--catalog", str(write_catalog(tmp_path, TOP, OWN, SECRET)), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    by_id = {one["id"]: one for one in shown["models"]}
    assert by_id["own"]["price"]["bands"][0]["input_nano_usd_per_million"] == 150_000_000
    assert by_id["own"]["price"]["call_nano_usd"] == 2_000_000
    assert by_id["secret"]["price"] is None
    assert by_id["top"]["price"]["source_date"] == "2026-11-09"
    assert shown["faults"] == []


def test_a_model_that_the_list_does_not_know_fails_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unlisted = {**TOP, "name": "claude-of-tomorrow"}
    assert main(["--catalog", str(write_catalog(tmp_path, OWN, unlisted))]) == 1
    assert "models.yaml:10: " in capsys.readouterr().out


def test_a_faulty_catalog_fails_with_its_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--catalog", str(write_catalog(tmp_path, {**OWN, "tier": "gold"}))]) == 1
    assert "unknown-tier" in capsys.readouterr().out


def test_a_catalog_without_models_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--catalog", str(write_catalog(tmp_path))]) == 0
    assert "no models" in capsys.readouterr().out
