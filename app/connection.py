"""uvicorn's HTTP connection with bounds on a request's head, and errors in the contract's form.

uvicorn bounds neither the headers that httptools reads nor the time that they take: a connection
could send headers without end, or one letter a minute, and hold memory for it (docs/decisions/018).
Here is also where requests are refused unread while the event loop is late: see `app.gate`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.gate import Gate
from app.middleware import read_request_id

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 128


def bounded(head_timeout_s: float, gate: Gate | None = None) -> type[HttpToolsProtocol]:
    """The protocol for uvicorn's `http`.

    Args:
        head_timeout_s: for a request's headers.
        gate: says which requests are refused unread; None for none.
    """
    return type("Bounded", (BoundedProtocol,), {"head_timeout": head_timeout_s, "gate": gate})


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    head_timeout = 20.0
    gate: Gate | None = None

    def __init__(self, config: Config, *arguments: Any, **fields: Any) -> None:
        super().__init__(config, *arguments, **fields)
        self._heads = 0  # that were complete
        self._in_head = False  # a part of one is there
        self._waiting_bytes = 0  # of a head that is not complete
        self._seen_bytes = 0  # of it, and of the piece that is being read
        self._head_timer: asyncio.TimerHandle | None = None
        self._too_large = False
        self._unread = False  # the request that comes in is refused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        heads = self._heads
        self._seen_bytes = self._waiting_bytes + len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unread and self._head_timer is None:  # the rest of its body is waited for
            self._arm()
        if not self._in_head:
            return
        if heads == self._heads:
            self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_HEAD_BYTES:
            self._too_large = True
            self.send_400_response("")
        elif self._head_timer is None:  # uvicorn has just stopped its keep-alive timer
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        # One piece of data can hold more than is let in. A header at a time would be looked at
        # sooner, and cost every request more than the rest of these bounds together.
        too_long = self._seen_bytes > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES
        if too_long or len(self.headers) > MAX_HEADERS:
            self._too_large = True
            raise ValueError("too large")  # ends the parsing: see send_400_response
        self._heads += 1
        self._in_head = False
        self._waiting_bytes = 0
        if self._head_timer is not None:
            self._disarm()
        gate = self.gate
        if gate is not None and gate.is_shut(self.loop, len(self.tasks)):
            is_next = self.cycle is None or self.cycle.response_complete  # no answer before it
            if is_next and gate.guards(self.parser.get_method(), self.url):
                self._unread = True
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._unread:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._unread:
            super().on_message_complete()
            return
        self._unread = False
        self._disarm()
        assert self.gate is not None
        name = read_request_id(self.headers)
        self.transport.write(self.gate.refusal(self.url, name, self.server_state.default_headers))
        if self.parser.should_keep_alive():
            self.on_response_complete()
        else:
            self.transport.close()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def send_400_response(self, msg: str) -> None:
        if self._too_large:
            limits = f"{MAX_HEADERS} headers, {MAX_HEAD_BYTES} bytes"
            self._refuse(431, f"the headers are over {limits}", "headers_too_large")
        else:
            self._refuse(400, "not a valid HTTP request", "bad_http")

    def _refuse(self, status: int, message: str, code: str) -> None:
        kind = "timeout_error" if status == 408 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": code}
        body = orjson.dumps({"error": error})
        head = (
            b"content-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        if self.cycle is None or self.cycle.response_complete:  # else it would end up in an answer
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout, self._head_late)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(408, "the headers did not come in time", "headers_timeout")
        else:
            self.transport.close()
