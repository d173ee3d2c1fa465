"""Serves one method that answers an empty message with an empty message.

What a unary call of bare grpc.aio costs, on Python's own event loop, before any of it is ours.
Prints its port as `tierwise serve` does, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty


async def call(request: Empty, context: grpc.aio.ServicerContext[Any, Any]) -> Empty:
    """Answers."""
    return Empty()


async def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    method = grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tierwise.benchmark.EmptyService", {"Call": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"serving on port {port}", flush=True)
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
