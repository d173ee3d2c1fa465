"""A program that reports outcomes until it is killed, and notes those that were acknowledged.

It reads the port to report to from a file, reports each batch again until it is acknowledged, and
then appends a line for each outcome: its id and the number of its attempts.
"""

from __future__ import annotations

import itertools
import sys
import time
import uuid
from pathlib import Path

import grpc

from tierwise.v1.outcome_pb2 import Attempt, Outcome, Usage
from tierwise.v1.routing_service_pb2 import (
    OUTCOME_STATUS_ACCEPTED,
    OUTCOME_STATUS_DUPLICATE,
    ReportOutcomesRequest,
)
from tierwise.v1.routing_service_pb2_grpc import RoutingServiceStub

BATCH = 20
CALL_TIMEOUT_S = 5.0
PAUSE_S = 0.05

_USED = Attempt(model_id="small-fast", usage=Usage(input_token_count=1000))


class Reporter:
    """Reports to whichever server serves at the moment."""

    def __init__(self, port_file: Path) -> None:
        self._port_file = port_file
        self._connect()

    def _connect(self) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._port_file.read_text()}")

    def report(self, request: ReportOutcomesRequest) -> None:
        """Returns once every outcome is acknowledged."""
        while True:
            try:
                response = RoutingServiceStub(self._channel).ReportOutcomes(
                    request, timeout=CALL_TIMEOUT_S
                )
            except grpc.RpcError:
                time.sleep(PAUSE_S)
                self._channel.close()
                self._connect()
                continue
            statuses = {one.status for one in response.results}
            if not statuses <= {OUTCOME_STATUS_ACCEPTED, OUTCOME_STATUS_DUPLICATE}:
                sys.exit(f"an outcome was not taken: {response}")
            return


def main(port_file: str, token: str, acknowledged: str) -> None:
    """Reports until killed."""
    reporter = Reporter(Path(port_file))
    with Path(acknowledged).open("a", encoding="ascii") as log:
        for batch in itertools.count():
            outcomes = [
                Outcome(
                    outcome_id=str(uuid.uuid4()),
                    decision_token=token,
                    attempts=[_USED] * (1 + (batch + number) % 2),
                )
                for number in range(BATCH)
            ]
            reporter.report(ReportOutcomesRequest(outcomes=outcomes))
            log.write("".join(f"{one.outcome_id} {len(one.attempts)}\n" for one in outcomes))
            log.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
