"""What deploy/ ships fits the programs: manifests, compose file, Envoy's configuration."""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.benchmarks.envoy_proxy import CONFIGURATION, ENVOY

from tierwise import cli
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.settings import Settings, read_settings, settings_parser

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
STARTER = DEPLOY.parent / "server" / "tierwise_server" / "catalog" / "starter"


def documents(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def patched(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Applies `add` and `replace` of a JSON patch, all that the overlays use."""
    document = copy.deepcopy(document)
    for one in operations:
        *parents, last = one["path"].strip("/").split("/")
        place: Any = document
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        if last == "-":
            assert one["op"] == "add"
            place.append(one["value"])
        else:
            assert one["op"] == "add" or last in place
            place[last] = one["value"]
    return document


def resources(overlay: str) -> dict[str, dict[str, Any]]:
    """Returns the objects of a kustomization by kind."""
    base = documents(KUBERNETES / "base" / "kustomization.yaml")
    found = [documents(KUBERNETES / "base" / name) for name in base["resources"]]
    by_kind = {one["kind"]: one for one in found}
    assert len(by_kind) == len(found)
    if overlay == "base":
        return by_kind
    kustomization = documents(KUBERNETES / overlay / "kustomization.yaml")
    assert kustomization["resources"] == ["../base"]
    for patch in kustomization["patches"]:
        kind = patch["target"]["kind"]
        assert by_kind[kind]["metadata"]["name"] == patch["target"]["name"]
        by_kind[kind] = patched(by_kind[kind], documents(KUBERNETES / overlay / patch["path"]))
    return by_kind


def settings_of(container: dict[str, Any]) -> Settings:
    """Returns what `tierwise serve` makes of a container's arguments; unknown flags fail."""
    command, *flags = container["args"]
    assert command == "serve"
    return read_settings(settings_parser("tierwise serve", ""), flags)


@pytest.fixture(params=["base", "tls"])
def objects(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    return resources(request.param)


def container_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_selectors_find_the_pods(objects: dict[str, dict[str, Any]]) -> None:
    spec = objects["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert labels
    assert spec["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["Service"]["spec"]["clusterIP"] == "None"
    for kind, name in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert objects[kind]["spec"][name]["matchLabels"] == labels
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels


def test_ports_are_those_that_it_listens_on(objects: dict[str, dict[str, Any]]) -> None:
    container = container_of(objects)
    settings = settings_of(container)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert settings.listen == f"0.0.0.0:{ports['grpc']}"
    assert settings.metrics_listen == f"0.0.0.0:{ports['metrics']}"
    named = [one["targetPort"] for one in objects["Service"]["spec"]["ports"]]
    allowed = objects["NetworkPolicy"]["spec"]["ingress"][0]["ports"]
    assert {*named, *(one["port"] for one in allowed)} <= set(ports)
    annotations = objects["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["metrics"])


def test_probes_ask_what_answers(
    objects: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    container = container_of(objects)
    port = settings_of(container).listen.rpartition(":")[2]
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    if not settings_of(container).tls_certificate:
        # The whole server: its name for health checks is empty.
        assert [probe["grpc"] for probe in probes] == [{"port": int(port)}] * 3
        return
    asked = []

    def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
        asked.append(known(parser, words))
        raise SystemExit(0)

    known = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    for probe in probes:
        assert "grpc" not in probe
        program, *words = probe["exec"]["command"]
        assert program == "tierwise"
        with pytest.raises(SystemExit, match="0"):
            cli.main(words)
        assert asked[-1].timeout < probe["timeoutSeconds"]
    service = objects["Service"]["metadata"]["name"]
    assert {(one.server, one.tls_name) for one in asked} == {(f"127.0.0.1:{port}", service)}


def test_a_pod_gets_longer_to_end_than_it_needs(objects: dict[str, dict[str, Any]]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    settings = settings_of(container_of(objects))
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay_s + settings.grace_s
    ready = container_of(objects)["readinessProbe"]
    if not settings.tls_certificate:
        assert settings.drain_delay_s > ready["periodSeconds"] * ready["failureThreshold"]


def test_a_pod_is_locked_down(objects: dict[str, dict[str, Any]]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert not pod["automountServiceAccountToken"]
    for container in (*pod["initContainers"], *pod["containers"]):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_what_is_read_is_mounted(objects: dict[str, dict[str, Any]]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    container = container_of(objects)
    settings = settings_of(container)
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert set(mounts.values()) == set(volumes)
    read = [settings.cache_dir, *settings.catalog, settings.tokens]
    if settings.tls_certificate:
        environment = {one["name"]: one.get("value") for one in container["env"]}
        read += [settings.tls_certificate, settings.tls_key, environment["TIERWISE_SERVER_CA"]]
    assert not [path for path in read if not path.startswith(tuple(mounts))]
    secret = volumes["secret"]["secret"]
    files = {f"/etc/tierwise/secret/{item['path']}" for item in secret["items"]}
    assert settings.tokens in files


def test_the_config_map_makes_the_catalog_of_tierwise_init(
    objects: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (mapped,) = [one["configMap"] for one in pod["volumes"] if "configMap" in one]
    config_map = objects["ConfigMap"]
    assert mapped["name"] == config_map["metadata"]["name"]
    assert {item["key"] for item in mapped["items"]} == set(config_map["data"])
    for item in mapped["items"]:
        path = tmp_path / item["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(config_map["data"][item["key"]], encoding="utf-8")
        assert path.read_bytes() == (STARTER / item["path"]).read_bytes()
    catalog = load_catalog(tmp_path)
    assert [tier.id for tier in catalog.tiers] == ["budget", "mid", "premium"]


# Compose -----------------------------------------------------------------------------------------


def test_compose_mounts_what_is_there_and_sets_what_is_known() -> None:
    folder = DEPLOY / "compose"
    compose = documents(folder / "compose.yaml")
    services = compose["services"]
    assert set(services) == {"router", "postgres", "prometheus", "grafana"}
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (folder / source).exists() if "/" in source else source in compose["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    router = services["router"]
    variables = {name for name in router["environment"] if name.startswith("TIERWISE_")}
    known = {f"TIERWISE_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert variables <= known
    assert Settings(ledger=router["environment"]["TIERWISE_LEDGER"]).ledger_url
    assert (folder / router["build"]["context"] / router["build"]["dockerfile"]).exists()
    assert router["read_only"]
    assert int(router["stop_grace_period"].rstrip("s")) > Settings().grace_s


def test_prometheus_and_grafana_find_what_they_are_given() -> None:
    folder = DEPLOY / "compose"
    prometheus = documents(folder / "prometheus.yaml")
    mounts = {
        target: source
        for name in ("prometheus", "grafana")
        for source, target, *_ in (
            volume.split(":")
            for volume in documents(folder / "compose.yaml")["services"][name]["volumes"]
        )
    }
    assert set(prometheus["rule_files"]) <= set(mounts)
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["router:9464"]}]
    (provider,) = documents(folder / "grafana/dashboards/tierwise.yaml")["providers"]
    dashboards = folder / mounts[provider["options"]["path"]]
    assert [json.loads(path.read_text())["title"] for path in dashboards.glob("*.json")]


# Envoy -------------------------------------------------------------------------------------------


def test_envoy_takes_its_configuration() -> None:
    done = subprocess.run(
        [str(ENVOY), "--mode", "validate", "-c", str(CONFIGURATION)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_envoy_finds_the_replicas_by_the_headless_service() -> None:
    (cluster,) = documents(CONFIGURATION)["static_resources"]["clusters"]
    (locality,) = cluster["load_assignment"]["endpoints"]
    (endpoint,) = locality["lb_endpoints"]
    service = resources("base")["Service"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": service["metadata"]["name"],
        "port_value": service["spec"]["ports"][0]["port"],
    }
