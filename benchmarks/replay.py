"""The simulator beside the published run of `benchmarks.overload`, on a machine that was quiet.

    python -m benchmarks.replay

Fitted are two figures of experiments, "Load of 25 to 300%": the capacity of a closed loop with
nothing cached, and the median at a quarter of it. One more, of the same table: the capacity with
all cached. The other lines are predicted from these. No jitter: all passes take what the line says.
"""

from __future__ import annotations

import numpy as np

from benchmarks.machine import print_result
from benchmarks.simulate import Outcome, Simulated, Simulation, System, Times, Trace, poisson
from models.openvino.encoder import BATCH_TOKENS, OVERHEAD_TOKENS, PAIR_TOKENS
from models.packing import BatchRule

SECONDS, KNOWN = 8.0, 500
TOKENS = 24  # of a short text
FULL = 10 * TOKENS  # of a batch, in the budget of 256
NEW_A_S, KNOWN_A_S, QUARTER_P50_S = 646.9, 8314.6, 0.0119
REQUEST_S = 1 / KNOWN_A_S
SINGLE = 32  # tokens of a pass of one such text
FULL_S = 2 * 10 / NEW_A_S  # two workers, ten texts each
SINGLE_S = QUARTER_P50_S - 2 * REQUEST_S
TOKEN_S = (FULL_S - SINGLE_S) / (FULL - SINGLE)
SYSTEM = System(
    Times(REQUEST_S, REQUEST_S, pass_fixed=SINGLE_S - SINGLE * TOKEN_S, pass_token=TOKEN_S),
    BatchRule(BATCH_TOKENS, OVERHEAD_TOKENS, workers=2, attention=PAIR_TOKENS),
)
# Share cached, texts/s; measured there: answered/s, p50 and p99 in ms, share refused.
PUBLISHED = (
    (0.0, 161.7, 159.4, 11.9, 36.3, 0.0),
    (0.0, 323.5, 332.6, 19.2, 53.4, 0.0),
    (0.0, 582.2, 568.8, 59.1, 209.7, 0.0),
    (0.0, 646.9, 605.7, 164.7, 393.8, 0.0558),
    (0.0, 970.4, 589.4, 260.5, 467.0, 0.3759),
    (0.0, 1293.8, 455.5, 278.6, 560.3, 0.6426),
    (0.0, 1940.7, 325.2, 309.5, 829.8, 0.8273),
    (0.5, 298.0, 293.3, 5.7, 37.4, 0.0),
    (0.5, 595.9, 615.9, 8.7, 76.7, 0.0),
    (0.5, 1072.7, 1015.3, 10.9, 480.6, 0.0442),
    (0.5, 1191.9, 1027.9, 9.5, 521.4, 0.1261),
    (0.9, 872.2, 887.6, 1.1, 42.5, 0.0),
    (0.9, 1744.4, 1757.1, 2.8, 73.0, 0.0),
)


def simulated(hits: float, rate: float, seed: int = 0) -> Simulated:
    """One line of the table."""
    random = np.random.default_rng(seed)
    times = poisson(rate, SECONDS, rate, random)
    texts = np.where(
        random.random(len(times)) < hits,
        random.integers(KNOWN, size=len(times)),
        KNOWN + np.arange(len(times)),
    )
    trace = Trace(times, texts, np.full(len(times), TOKENS))
    return Simulation(SYSTEM, trace, known=range(KNOWN)).run()


def main() -> None:
    rows = []
    print("| cached | texts/s | p50 ms: predicted, measured | p99 ms | refused |")
    print("|" + " ---: |" * 5)
    for hits, rate, _, p50, p99, refused in PUBLISHED:
        done = simulated(hits, rate)
        seen = {"p50_ms": p50, "p99_ms": p99, "refused": refused}
        said = {
            "p50_ms": round(done.percentile(50) * 1e3, 1),
            "p99_ms": round(done.percentile(99) * 1e3, 1),
            "refused": round(done.share(Outcome.REFUSED, Outcome.UNREAD), 3),
        }
        rows.append({"hits": hits, "texts_a_s": rate, "predicted": said, "measured": seen})
        print(
            f"| {hits:.0%} | {rate:,.0f} | {said['p50_ms']:.1f}, {p50:.1f} |"
            f" {said['p99_ms']:.0f}, {p99:.0f} | {said['refused']:.0%}, {refused:.0%} |",
            flush=True,
        )
    print_result("replay", {"rows": rows})


if __name__ == "__main__":
    main()
