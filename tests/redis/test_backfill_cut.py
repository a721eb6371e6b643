"""A backfill whose Valkey dies in the middle: no file that looks whole."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.cache.keys import StoredCode, encode_value
from app.cache.string_store import server_key
from tests.conftest import ServiceProcess, ValkeyProcess

COUNT = 120_000


@pytest.fixture
def filled(
    valkey: ValkeyProcess, processes: Callable[..., ServiceProcess], tmp_path: Path
) -> ServiceProcess:
    service = processes("all", tmp_path, REDIS_URL=valkey.url)
    info = service.http.get("/info").json()["encoder"]
    random = np.random.default_rng(0)
    values = {}
    for _ in range(COUNT):
        digest, code = random.bytes(16), StoredCode(random.bytes(info["bits"] // 8), 3, False)
        fingerprint = info["fingerprint"]
        values[server_key(fingerprint, digest)] = encode_value(fingerprint, digest, code)
    valkey.client.mset(values)
    return service


def test_a_table_that_is_cut_off_cannot_be_read(
    filled: ServiceProcess, valkey: ValkeyProcess
) -> None:
    def read(**body: Any) -> tuple[bytes, bool]:
        """What came, and whether the connection was cut."""
        data = b""
        with filled.http.stream("POST", "/v1/tasks/sentiment/backfill", json=body) as response:
            assert response.status_code == 200
            try:
                for number, chunk in enumerate(response.iter_raw()):
                    data += chunk
                    if number == 1:
                        valkey.kill()
            except httpx.RemoteProtocolError:
                return data, True
        return data, False

    data, cut = read(format="parquet")
    assert cut
    assert data.startswith(b"PAR1")
    with pytest.raises((pa.ArrowInvalid, OSError)):
        pq.read_table(io.BytesIO(data))
    valkey.start()
    data, cut = read()
    last = json.loads(data.splitlines()[-1])
    assert (last["error"]["code"], cut) == ("cache_unavailable", False)
    assert "Traceback" not in filled.log.read_text()
