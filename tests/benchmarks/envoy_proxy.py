"""Runs Envoy on the shipped configuration before replicas on this machine, on free ports."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"
ENVOY = Path(sys.executable).parent / "envoy"
START_TIMEOUT_S = 60.0
POLL_S = 0.02


class EnvoyError(Exception):
    """Envoy does not run."""


class Envoy:
    """An Envoy that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, admin: Path) -> None:
        self._process = process
        self._log = log
        self._admin = admin
        self._end = time.monotonic() + START_TIMEOUT_S
        self.port = self._listener_port()

    def healthy(self) -> int:
        """Returns how many replicas get calls."""
        return sum(
            set(host["health_status"]) == {"eds_health_status"}
            for cluster in self._ask("/clusters?format=json")["cluster_statuses"]
            for host in cluster.get("host_statuses", ())
        )

    def statistics(self) -> dict[str, int]:
        """Returns the counters of the replicas' cluster that are not 0."""
        found = self._ask("/stats?format=json&filter=^cluster.tierwise")["stats"]
        return {one["name"]: one["value"] for one in found if one.get("value")}

    def _listener_port(self) -> int:
        while True:
            with contextlib.suppress(OSError, ValueError, LookupError):
                status = self._ask("/listeners?format=json")["listener_statuses"][0]
                return int(status["local_address"]["socket_address"]["port_value"])
            if self._process.poll() is not None or time.monotonic() > self._end:
                raise EnvoyError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(POLL_S)

    def _ask(self, path: str) -> dict[str, Any]:
        url = f"http://{self._admin.read_text()}{path}"
        with urllib.request.urlopen(url, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


@contextlib.contextmanager
def envoy_before(ports: Sequence[int], folder: Path) -> Iterator[Envoy]:
    """Runs Envoy as shipped, but for its own ports and for where the replicas are.

    Args:
        ports: Ports of the replicas on this machine.
        folder: Where its files go.

    Raises:
        EnvoyError: It does not start.
    """
    configuration, log, admin = (folder / f"envoy.{name}" for name in ("yaml", "log", "admin"))
    configuration.write_text(json.dumps(configured(ports)), encoding="utf-8")
    command = [
        *(str(ENVOY), "-c", str(configuration), "--use-dynamic-base-id", "--concurrency", "1"),
        *("--admin-address-path", str(admin), "--log-level", "warning", "--log-path", str(log)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Envoy(process, log, admin)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def configured(ports: Sequence[int]) -> dict[str, Any]:
    """Returns the shipped configuration with these replicas and free ports of its own."""
    document: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    resources = document["static_resources"]
    for place in (document["admin"], resources["listeners"][0]):
        place["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    (cluster,) = resources["clusters"]
    cluster["load_assignment"]["endpoints"] = [
        {
            "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": _address(port)}}} for port in ports
            ]
        }
    ]
    return document


def _address(port: int) -> dict[str, Any]:
    return {"address": "127.0.0.1", "port_value": port}
