"""Texts over the encoder's limit: cut and told so, or encoded in windows."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.settings import DEFAULT_ENCODER
from models.bulk import encode_texts
from models.loading import load_encoder
from tests.api.test_encode import encode
from tests.conftest import ServiceProcess

LONG = "the quarterly report mentions a delay " * 200  # 1,200 words
START = "the quarterly report mentions a delay " * 60


def test_a_long_text_is_cut_at_the_limit_and_says_so(service: ServiceProcess) -> None:
    limit = service.http.get("/info").json()["encoder"]["max_tokens"]
    (long,) = encode(service, LONG)["data"]
    assert (long["tokens"], long["truncated"]) == (limit, True)
    (short,) = encode(service, START)["data"]
    assert short["tokens"] == 6 * 60 + 2
    assert short["truncated"] is False


def test_windows_read_all_of_a_long_text(
    processes: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    service = processes("all", tmp_path, POLYHEAD_LONG_TEXTS="windows", POLYHEAD_MAX_TOKENS="128")
    answer = encode(service, [LONG, "short", LONG + "but the end is another"])
    long, short, other = answer["data"]
    assert long["truncated"] is False
    assert long["tokens"] > 6 * 200
    assert short["truncated"] is False
    assert long["code"] != other["code"]
    # Reference: the encoder in this process, without the service's queue and batches.
    encoder = load_encoder(
        DEFAULT_ENCODER, device="cpu", threads=2, max_tokens=128, long_texts="windows"
    )
    assert answer["encoder"] == encoder.info.fingerprint
    (expected,) = encode_texts(encoder, [LONG])
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(long["code"]), dtype=np.uint8), expected
    )
    assert service.metric("polyhead_encoder_passes_total") == 3


@pytest.mark.parametrize("value", ["3", "513"])
def test_a_limit_that_the_model_has_not_is_refused_at_the_start(tmp_path: Path, value: str) -> None:
    service = ServiceProcess("all", tmp_path, POLYHEAD_MAX_TOKENS=value)
    with pytest.raises(RuntimeError, match=f"max_tokens is {value}, the model takes 4 to 512"):
        service.start()
