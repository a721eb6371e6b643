"""The console: a page at `/` that people use the service with. Static files, no build step."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
