"""One client with all the load it can make, another with a text now and then."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.conftest import ServiceProcess, wait_for

Start = Callable[..., ServiceProcess]
KEYS = {"large": "large-key-1", "small": "small-key-1"}


def headers_of(client: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[client]}"}


class Flood:
    """Requests of eight long texts on many connections, one as soon as another is answered."""

    def __init__(self, service: ServiceProcess, connections: int) -> None:
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]
        self.statuses: Counter[int] = Counter()

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=240) as client:
            while not self._stop.is_set():
                texts = [f"{uuid.uuid4().hex} " + "word " * 100 for _ in range(8)]
                body = {"inputs": texts}
                response = client.post("/v1/encode", json=body, headers=headers_of("large"))
                self.statuses[response.status_code] += 1
                if response.status_code == 429:
                    time.sleep(0.05)  # of one core the service has a part as well


def test_single_texts_are_answered_whatever_another_client_sends(
    processes: Start, tmp_path: Path
) -> None:
    service = processes(
        "all", tmp_path,
        POLYHEAD_MAX_QUEUE_MS="1",  # a fast machine has more than it can do, too
        POLYHEAD_API_KEYS=",".join(f"predict:{key}" for key in KEYS.values()),
    )  # fmt: skip
    service.http.headers.update(headers_of("small"))
    with Flood(service, 16) as flood:
        wait_for(lambda: flood.statuses[429] > 0, 60, "more than the service can do")
        statuses: Counter[int] = Counter()
        encoded = 0.0
        for number in range(15):
            before = service.metric("polyhead_encoder_passes_total")
            body = {"inputs": f"a short question, number {number} {uuid.uuid4().hex}"}
            statuses[service.http.post("/v1/encode", json=body).status_code] += 1
            encoded += service.metric("polyhead_encoder_passes_total") - before
    # Not one is refused, though more waits than the service can do in the time that it allows.
    assert statuses == {200: 15}
    assert set(flood.statuses) == {200, 429}
    print(f"{encoded / 15:.0f} texts were encoded while a single one was waited for")
    wait_for(lambda: service.metric("polyhead_queued_texts") == 0, 30, "an empty queue")
