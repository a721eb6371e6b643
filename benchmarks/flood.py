"""A flood that doubles in a minute, and what an autoscaler makes of it: simulated, not measured.

    python -m benchmarks.flood

Texts of 120 tokens that nobody asked before, two encoders of two cores to begin with. Passes take
what experiments, "Texts end to end", has: 12.2 tokens a millisecond of a full batch, on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.autoscale import Autoscaler
from benchmarks.machine import print_result
from benchmarks.simulate import Outcome, Simulation, System, Times, Trace, poisson
from models.openvino.encoder import BATCH_TOKENS, OVERHEAD_TOKENS, PAIR_TOKENS
from models.packing import BatchRule

TOKENS = 120
TOKEN_S = 1 / 12_200 * BATCH_TOKENS / (BATCH_TOKENS + OVERHEAD_TOKENS)
SYSTEM = System(
    Times(request=140e-6, answer=140e-6, pass_fixed=OVERHEAD_TOKENS * TOKEN_S, pass_token=TOKEN_S),
    BatchRule(BATCH_TOKENS, OVERHEAD_TOKENS, workers=2, attention=PAIR_TOKENS),
    apis=2,
    encoders=2,
)
BASE, BEGINS, RISES_S, ENDS = 250.0, 60.0, 60.0, 210.0

SCENARIOS: dict[str, tuple[int, Callable[[], Autoscaler | None]]] = {
    "two encoders, no autoscaler": (2, lambda: None),
    "utilisation 60%, 30 s to start": (2, lambda: Autoscaler(2, 20)),
    "utilisation 60%, 5 s to start": (2, lambda: Autoscaler(2, 20, start_s=5.0)),
    "utilisation 40%, 30 s to start": (2, lambda: Autoscaler(2, 20, utilisation=0.4)),
    "1,000 queued tokens, 30 s to start": (
        2,
        lambda: Autoscaler(2, 20, queued_tokens=1000.0, utilisation=None),
    ),
    "10,000 queued tokens, 30 s to start": (
        2,
        lambda: Autoscaler(2, 20, queued_tokens=10_000.0, utilisation=None),
    ),
    "utilisation 60%, 30 s to start, never under 4": (4, lambda: Autoscaler(4, 20)),
}


def rate(moment: float) -> float:
    """Texts a second: twice as many within `RISES_S`, and so it stays."""
    return BASE * (1.0 + min(1.0, max(0.0, (moment - BEGINS) / RISES_S)))


def run(encoders: int, scaler: Autoscaler | None, seed: int = 0) -> dict[str, Any]:
    """One scenario."""
    times = poisson(rate, ENDS, 2 * BASE, np.random.default_rng(seed))
    trace = Trace(times, np.arange(len(times)), np.full(len(times), TOKENS))
    done = Simulation(replace(SYSTEM, encoders=encoders), trace, autoscaler=scaler).run()
    refused = (done.outcomes == Outcome.REFUSED) | (done.outcomes == Outcome.UNREAD)
    bad = times[refused]
    return {
        "refused": round(float(refused.mean()), 4),
        "last_refused_s": round(float(bad[-1] - BEGINS), 1) if len(bad) else None,
        "p50_ms": round(done.percentile(50) * 1e3, 1),
        "p99_ms": round(done.percentile(99) * 1e3, 1),
        "most_encoders": max([encoders, *(ready for _, ready, _ in done.scale)]),
    }


def main() -> None:
    rows = {}
    print("| encoders | refused | last refusal after | p50, p99 ms | most encoders |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (encoders, scaler) in SCENARIOS.items():
        row = rows[name] = run(encoders, scaler())
        last = "-" if row["last_refused_s"] is None else f"{row['last_refused_s']:.0f} s"
        print(
            f"| {name} | {row['refused']:.1%} | {last} | {row['p50_ms']:.0f}, {row['p99_ms']:.0f} |"
            f" {row['most_encoders']} |",
            flush=True,
        )
    print_result("flood", {"scenarios": rows})


if __name__ == "__main__":
    main()
