"""JSON answers as bytes, with the time headers."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from app.call import Call


def json_answer(value: Any, call: Call) -> Response:
    """`value` as a JSON answer."""
    return Response(orjson.dumps(value), headers=call.headers(), media_type="application/json")
