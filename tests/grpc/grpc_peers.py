"""gRPC clients and servers of grpcio, without protobuf: messages are bytes, methods are plain functions.

Every call is bounded by TIMEOUT. Channels neither retry nor share connections, so that what a test sees is
what lbd did."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, Self

import grpc
from harness.lbd import Lbd
from harness.waiting import TIMEOUT

METHOD = "/lbd.Test/{}".format
LARGE = 5 << 20
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
ALONE = (
    *UNLIMITED,
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
Options = Sequence[tuple[str, Any]]
Handlers = Mapping[str, grpc.RpcMethodHandler]

unary = grpc.unary_unary_rpc_method_handler
server_stream = grpc.unary_stream_rpc_method_handler
client_stream = grpc.stream_unary_rpc_method_handler
both_stream = grpc.stream_stream_rpc_method_handler


def echo(message: bytes, context: grpc.ServicerContext) -> bytes:
    return message


def echo_each(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from messages


class Calls(grpc.GenericRpcHandler):
    """Handlers by the last part of the method's name; the names of all calls are kept."""

    def __init__(self, handlers: Handlers):
        self.handlers = handlers
        self.seen: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        name = details.method.removeprefix(METHOD(""))
        self.seen.append(name)
        return self.handlers.get(name)


class GrpcServer:
    """with GrpcServer({"Echo": unary(echo)}) as server: ...; str(server) is its address."""

    def __init__(self, handlers: Handlers, options: Options = (), threads: int = 16,
                 credentials: grpc.ServerCredentials | None = None):
        self.calls = Calls(handlers)
        self.pool = futures.ThreadPoolExecutor(threads)
        own = [("grpc.so_reuseport", 0), *UNLIMITED, *options]
        self.server = grpc.server(self.pool, [self.calls], options=own)
        if credentials is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        stopped = self.server.stop(None).wait(TIMEOUT)
        self.pool.shutdown(wait=False, cancel_futures=True)
        assert stopped, "the gRPC server did not stop"


def channel(lbd: Lbd, listener: str = "web", options: Options = (), ca: Path | None = None) -> grpc.Channel:
    """A channel of its own to lbd; with a CA over TLS, for the name localhost."""
    host, port = lbd.address(listener)
    if ca is None:
        return grpc.insecure_channel(f"{host}:{port}", options=[*ALONE, *options])
    credentials = grpc.ssl_channel_credentials(ca.read_bytes())
    named = ("grpc.ssl_target_name_override", "localhost")
    return grpc.secure_channel(f"{host}:{port}", credentials, options=[*ALONE, named, *options])


def call(channel: grpc.Channel, message: bytes = b"", name: str = "Echo", timeout: float = TIMEOUT,
         **more: Any) -> bytes:
    """A unary call."""
    return channel.unary_unary(METHOD(name))(message, timeout=timeout, **more)  # type: ignore[no-any-return]


def failure(channel: grpc.Channel, message: bytes = b"", name: str = "Echo", **more: Any) -> grpc.RpcError:
    """A unary call that must fail; .code() and .details() tell how."""
    try:
        answer = call(channel, message, name, **more)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"the call was answered: {answer[:100]!r}")


class Said:
    """Messages that a client sends when the test says so: an iterator for streaming calls."""

    def __init__(self) -> None:
        self.queue: queue.Queue[bytes | None] = queue.Queue()

    def say(self, message: bytes) -> None:
        self.queue.put(message)

    def end(self) -> None:
        self.queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (message := self.queue.get(timeout=4 * TIMEOUT)) is not None:
            yield message


def in_parallel(count: int, work: Callable[[int], Any]) -> list[Any]:
    """work(0) ... work(count - 1), all at a time; the results in order, or the first error."""
    with futures.ThreadPoolExecutor(count) as pool:
        return [one.result(4 * TIMEOUT) for one in [pool.submit(work, number) for number in range(count)]]


class Load:
    """Threads that call until the block is left; .done counts answers, .failed keeps what went wrong."""

    def __init__(self, work: Callable[[], Any], threads: int = 4):
        self.work, self.stopped = work, threading.Event()
        self.done = 0
        self.failed: list[Exception] = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive(), "a call hangs"

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                self.work()
            except grpc.RpcError as error:
                self.failed.append(error)
            else:
                with self.lock:
                    self.done += 1
