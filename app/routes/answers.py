"""JSON answers as bytes, with the time headers."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from app.clock import Stopwatch


def json_answer(value: Any, watch: Stopwatch | None = None) -> Response:
    """`value` as a JSON answer."""
    headers = watch.headers() if watch else None
    return Response(orjson.dumps(value), headers=headers, media_type="application/json")
