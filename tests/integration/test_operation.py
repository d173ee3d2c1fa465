"""The commands that operators and probes ask servers with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme
from tests.conftest import CatalogFolder, StartServe, run_tierwise, write_catalog

NEW_UTTERANCE = "does our sourdough starter need a passport"


@pytest.fixture
def replicas(
    start_serve: StartServe, tmp_path: Path
) -> tuple[tuple[str, CatalogFolder], tuple[str, CatalogFolder]]:
    """Two servers, each with a copy of the same files."""
    catalogs = [write_catalog(tmp_path / name) for name in ("one", "two")]
    started = [start_serve("--catalog", str(catalog.path)) for catalog in catalogs]
    first, second = [
        (f"127.0.0.1:{process.port()}", catalog)
        for process, catalog in zip(started, catalogs, strict=True)
    ]
    return first, second


def test_health_says_what_the_server_says(start_serve: StartServe, catalog: CatalogFolder) -> None:
    server = f"127.0.0.1:{start_serve('--catalog', f'web={catalog.path}').port()}"

    def ask(*words: str) -> tuple[int, str]:
        ended = run_tierwise("health", "--timeout", "30", "--server", server, *words)
        assert ended.stderr == ""
        return ended.returncode, ended.stdout.strip()

    assert ask() == (0, "SERVING")
    assert ask("--catalog", "web") == (0, "SERVING")
    assert ask("--service", "tierwise.v1.RoutingService") == (0, "SERVING")
    assert ask("--catalog", "unheard-of") == (1, "SERVICE_UNKNOWN")


def test_health_of_nobody_fails_in_one_line() -> None:
    ended = run_tierwise("health", "--server", "127.0.0.1:1")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("tierwise health: UNAVAILABLE: ")
    assert len(ended.stderr.splitlines()) == 1


def test_health_asks_beside_a_server_whose_certificate_has_another_name(
    start_serve: StartServe, catalog: CatalogFolder, tmp_path: Path
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("tierwise.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    pems = ("--tls-certificate", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key"))
    server = f"127.0.0.1:{start_serve('--catalog', str(catalog.path), *pems).port()}"
    env = {"TIERWISE_SERVER_CA": str(tmp_path / "ca.pem")}
    words = ("health", "--timeout", "30", "--server", server)
    named = run_tierwise(*words, "--tls-name", "tierwise.example", env=env)
    assert (named.returncode, named.stdout, named.stderr) == (0, "SERVING\n", "")
    assert run_tierwise(*words, env=env).returncode == 1


def test_a_rollout_is_followed_until_all_serve_the_same(
    replicas: tuple[tuple[str, CatalogFolder], tuple[str, CatalogFolder]],
) -> None:
    (first, first_files), (second, second_files) = replicas
    words = ("rollout", "--timeout", "30", "--server", first, "--server", second)
    ended = run_tierwise(*words, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    before = json.loads(ended.stdout)
    assert before["converged"]
    assert [one["address"] for one in before["replicas"]] == [first, second]
    (old,) = {one["revision"] for one in before["replicas"]}

    text = first_files.read("tiers/budget.yaml") + f"      - {NEW_UTTERANCE}\n"
    first_files.write("tiers/budget.yaml", text)
    half_way = run_tierwise(*words, "--wait", "1")
    assert half_way.returncode == 1
    assert "not converged: 2 replicas, 2 revisions" in half_way.stdout

    second_files.write("tiers/budget.yaml", text)
    done = run_tierwise(*words, "--wait", "60", "--json")
    assert done.returncode == 0, done.stdout
    (new,) = {one["revision"] for one in json.loads(done.stdout)["replicas"]}
    assert new != old
    assert run_tierwise(*words, "--revision", new).returncode == 0
    assert run_tierwise(*words, "--revision", old).returncode == 1


def test_a_rollout_shows_who_is_away_and_whose_files_are_faulty(
    replicas: tuple[tuple[str, CatalogFolder], tuple[str, CatalogFolder]],
) -> None:
    (server, files), _ = replicas
    files.write("tiers/mid.yaml", "tier: mid\ntaks: {}\n")
    ended = run_tierwise(
        *("rollout", "--timeout", "30", "--wait", "2"),
        *("--server", server, "--server", "127.0.0.1:1"),
    )
    assert ended.returncode == 1
    faulty, away, summary = ended.stdout.splitlines()
    assert "the first in tiers/mid.yaml:" in faulty
    assert "UNAVAILABLE" in away
    assert summary == "not converged: 2 replicas, 1 revision"


def test_a_rollout_looks_names_up(
    replicas: tuple[tuple[str, CatalogFolder], tuple[str, CatalogFolder]],
) -> None:
    (server, _), _ = replicas
    name = server.replace("127.0.0.1", "dns:///localhost")
    ended = run_tierwise("rollout", "--timeout", "5", "--server", name)
    assert any(line.startswith(f"{server} ") for line in ended.stdout.splitlines())
    unknown = run_tierwise("rollout", "--server", "dns:///nowhere.invalid:50051")
    assert unknown.returncode == 2
    assert "no such name and port" in unknown.stderr
