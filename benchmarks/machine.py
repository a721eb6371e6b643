"""What a figure was measured on."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, cores, memory, Python."""
    model, flags = platform.processor(), ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
        elif line.startswith("flags"):
            flags = line
    wanted = ("avx512_bf16", "avx512_vnni", "amx_bf16", "avx2")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "features": [flag for flag in wanted if flag in flags],
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
    }


def print_result(name: str, result: dict[str, Any]) -> None:
    """The machine, then one JSON line, last."""
    print("machine:", json.dumps(machine()))
    print(json.dumps({"benchmark": name, **result}))


def spread(values: list[float], digits: int = 3) -> dict[str, float]:
    """Minimum, median, maximum."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return {
        "min": round(ordered[0], digits),
        "median": round(middle, digits),
        "max": round(ordered[-1], digits),
    }
