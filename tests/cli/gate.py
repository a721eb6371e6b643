"""A proxy that lets some requests through and then holds the others."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


class Gate:
    """Passes requests on to a service, and after some of them answers no more.

    So a run is surely in the middle of its work when it is killed, however slow the machine is.
    """

    def __init__(self, url: str) -> None:
        self.left = 10**9
        self.held = threading.Semaphore(0)
        self.opened = threading.Event()
        http, gate = httpx.Client(base_url=url, timeout=120), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                if gate.left <= 0:
                    gate.held.release()
                    gate.opened.wait()
                    self.close_connection = True
                    return
                gate.left -= 1
                body = self.rfile.read(int(self.headers["content-length"]))
                self.answer(http.post(self.path, content=body))

            def do_GET(self) -> None:
                self.answer(http.get(self.path))

            def answer(self, response: httpx.Response) -> None:
                self.send_response(response.status_code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(response.content)))
                self.end_headers()
                self.wfile.write(response.content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.opened.set()
        self._server.shutdown()
        self._server.server_close()
