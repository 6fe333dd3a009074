"""A gRPC server in a process of its own, to be killed: prints its port, then streams until nobody reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent import futures

import grpc


def endless(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    for number in itertools.count():
        yield b"%d" % number


def echo(message: bytes, context: grpc.ServicerContext) -> bytes:
    return message


class Calls(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method.endswith("/Endless"):
            return grpc.unary_stream_rpc_method_handler(endless)
        return grpc.unary_unary_rpc_method_handler(echo)


if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(4), [Calls()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
