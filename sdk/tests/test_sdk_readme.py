"""The README's code runs as it stands."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

import httpx

import polyhead

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_runs(service, monkeypatch, naps, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    if importlib.util.find_spec("pandas") is None:
        blocks = [block for block in blocks if "import pandas" not in block]
    assert len(blocks) >= 5
    transport = httpx.MockTransport(service.handle)
    for name in ("Client", "AsyncClient"):
        cls = functools.partial(getattr(polyhead, name), transport=transport)
        monkeypatch.setattr(polyhead, name, cls)
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    namespace["client"].close()
    printed = capsys.readouterr().out
    assert "positive 0.98 encoded" in printed
    assert "task_not_found tasks req-1" in printed


def test_the_readme_tells_every_error():
    told = README.read_text(encoding="utf-8")
    by_status = {"AuthenticationError", "PermissionDenied", "NotFound", "Conflict", "TooLarge"}
    for name in polyhead.__all__:
        thing = getattr(polyhead, name)
        if isinstance(thing, type) and issubclass(thing, Exception) and name not in by_status:
            assert f"`{name}`" in told or f"`{name}`s" in told or f".{name}" in told, name
