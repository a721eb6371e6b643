"""The service as it is deployed: a cache, encoder processes and two api processes.

`Topology` has one Valkey and a proxy before it (`benchmarks.proxy`, in threads of this process),
for the faults of the connection; `benchmarks.cluster` has a cluster.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from app.cache.keys import fingerprint_tag
from benchmarks.causes import Clock, heeding_modes
from benchmarks.checked import FORMS, Expected, Load, Truth, chunks, varied_texts
from benchmarks.processes import ServiceProcess, ValkeyProcess
from benchmarks.proxy import Proxy

TASK = "mood"  # of our own, with two versions
TASK_SETS = [
    ["sentiment", "emotion", TASK],
    ["abuse", "clickbait", "humour"],
    ["sentiment", "banking_intent"],
    [TASK, "sentence_role"],
]
CACHED, NEW, LONG = 60, 2000, 24
NEVER_ASKED_AHEAD = 400  # codes of so many texts that come next are taken out of the cache
ASKED_MEANWHILE = 50
CHORE_EVERY_S = 1.0


class Served(ABC):
    """Encoder and api processes before a cache, and the answers of when all was well.

    Args:
        folder: for data and logs.
        common: environment of all of them.
        encoders: how many; each api process asks all of them.
        retrying: callers ask another api process where one cannot be reached, as a proxy does.
    """

    def __init__(
        self, folder: Path, common: dict[str, str], *, encoders: int = 1, retrying: bool = False
    ) -> None:
        self.folder = folder
        self.data = folder / "api" / "data"
        # No front caches: each look-up needs the server, or an encoder in its place.
        common = {"POLYHEAD_CACHE_FRONT_MB": "0", **common}
        self.encoders = [
            ServiceProcess("encoder", folder / f"encoder{number}", **common)
            for number in range(encoders)
        ]
        common["POLYHEAD_ENCODER_URL"] = ",".join(one.url for one in self.encoders)
        self.apis = [ServiceProcess("api", folder / "api", **common) for _ in range(2)]
        self.fingerprint = ""
        self.expected: Expected = {}
        self.cached = varied_texts(CACHED, "cached")
        self.new = varied_texts(NEW, "new")
        self.long = [text * 12 for text in varied_texts(LONG, "long")]
        self.said: list[str] = []
        self.broken: list[str] = []
        self._retrying = retrying

    def start(self) -> None:
        for encoder in self.encoders:
            encoder.start()
        for api in self.apis:
            api.start()
        self.fingerprint = self.apis[0].http.get("/info").json()["encoder"]["fingerprint"]

    def stop(self) -> None:
        for process in (*self.apis, *self.encoders):
            process.kill()
            process.http.close()

    @abstractmethod
    def forget(self, texts: list[str]) -> None:
        """Take texts' codes out of the cache."""

    def learn(self) -> None:
        """Make the task, and note what all texts are answered with; then forget the new ones."""
        api = self.apis[0]
        api.http.put(f"/v1/tasks/{TASK}", json={}).raise_for_status()
        for version, about in enumerate(("first", "second"), 1):
            job = self.train(about)
            if job["status"] != "succeeded" or job["version"] != version:
                raise RuntimeError(f"training for the measurement failed: {job.get('error')}")
        tasks = sorted({task for some in TASK_SETS for task in some})
        for version in (2, 1):
            self.activate(api, version)
            for texts in chunks([*self.cached, *self.new, *self.long], 256):
                self._note(api.predict(texts, tasks=tasks)["data"], texts)
        self.forget(self.new)

    def train(self, about: str, **options: Any) -> dict[str, Any]:
        """Train a version through the first api process; the job as it ended."""
        http = self.apis[0].http
        examples = [
            {"text": text, "label": f"form {n % len(FORMS) // 4}"}
            for n, text in enumerate(varied_texts(60, about))
        ]
        response = http.post(f"/v1/tasks/{TASK}/versions", json={"examples": examples, **options})
        response.raise_for_status()
        job: dict[str, Any] = response.json()
        deadline = time.monotonic() + 60
        while job["status"] in ("queued", "running") and time.monotonic() < deadline:
            time.sleep(0.1)
            job = http.get(f"/v1/jobs/{job['id']}").json()
        return job

    def activate(self, api: ServiceProcess, version: int) -> int:
        """The status of the answer."""
        return api.http.post(f"/v1/tasks/{TASK}/versions/{version}/activate").status_code

    def active_versions(self) -> list[int | None]:
        """Of each api process."""
        return [self.active_version(api) for api in self.apis]

    def active_version(self, api: ServiceProcess) -> int | None:
        version: int | None = api.http.get(f"/v1/tasks/{TASK}").json().get("active_version")
        return version

    def delete(self, version: int) -> None:
        path = f"/v1/tasks/{TASK}/versions/{version}"
        self.apis[0].http.delete(path).raise_for_status()

    @contextmanager
    def load(self) -> Iterator[Load]:
        """The load, while texts that were asked for are forgotten before their next turn."""
        urls = [api.url for api in self.apis]
        over = threading.Event()
        load = Load(urls, self.expected, self.cached, self.new, TASK_SETS, retrying=self._retrying)
        with load:

            def chore() -> None:
                while not over.wait(CHORE_EVERY_S):
                    with contextlib.suppress(redis.RedisError):
                        # Not those that may be asked for while this is done.
                        self.forget(load.next_new(NEVER_ASKED_AHEAD)[ASKED_MEANWHILE:])

            forgetting = threading.Thread(target=chore)
            forgetting.start()
            try:
                yield load
            finally:
                over.set()
                forgetting.join()

    def say(self, what: str) -> None:
        """Note something for the table."""
        self.said.append(what)

    def check(self, kept: bool, promise: str) -> None:
        """Note a promise that was not kept."""
        if not kept:
            self.broken.append(promise)

    def _note(self, rows: list[dict[str, Any]], texts: Any) -> None:
        for text, row in zip(texts, rows, strict=True):
            truth = self.expected.setdefault(text, Truth(row["key"]))
            for task, prediction in row["predictions"].items():
                seen = truth.predictions.setdefault(task, [])
                if prediction not in seen:
                    seen.append(prediction)


class Topology(Served):
    """With one Valkey, one encoder process, and a proxy between the service and Valkey.

    Args:
        folder: for data and logs.
        clock: that all of them go by, if not the machine's.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        more = clock.environment if clock is not None else {}
        self.clock = clock
        valkey_folder = folder / "valkey"
        valkey_folder.mkdir(parents=True)
        self.valkey = ValkeyProcess(valkey_folder, **more)
        self.valkey.start()
        self.proxy = Proxy(self.valkey.port)
        super().__init__(folder, {"REDIS_URL": f"redis://127.0.0.1:{self.proxy.port}/0", **more})
        self.encoder = self.encoders[0]
        self.heeds_modes = True
        for api in self.apis:
            command = heeding_modes(api.command)
            self.heeds_modes = command is not None
            api.command = command or api.command

    @property
    def processes(self) -> dict[str, ServiceProcess | ValkeyProcess]:
        apis = {f"api {number}": api for number, api in enumerate(self.apis)}
        return {"valkey": self.valkey, "encoder": self.encoder, **apis}

    def stop(self) -> None:
        super().stop()
        self.proxy.close()
        self.valkey.kill()

    def forget(self, texts: list[str]) -> None:
        """Take texts' codes out of the cache, past the proxy."""
        head = b"ph1:" + fingerprint_tag(self.fingerprint)
        names = [head + bytes.fromhex(self.expected[text].key) for text in texts]
        with contextlib.closing(redis.Redis(port=self.valkey.port, socket_timeout=1)) as client:
            client.unlink(*names)
