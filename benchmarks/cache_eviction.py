"""Hit ratio of both layouts where codes do not fit: a memory limit, Zipf traffic, by policy.

    python -m benchmarks.cache_eviction [--texts 2000000] [--memory-mb 64] [--requests 40000]

Texts are asked for with a frequency of 1 / rank^s, 64 a request; what is missing is stored, as if
it had been encoded. The first half of the requests fills the server; ratios are of the second.
`best_possible` is that of a cache which held the most frequent texts, as many of them as the server
holds codes at the end, and never any other.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.cache.layouts import Layout
from benchmarks.cache import text_of
from benchmarks.cache_peers import Ours
from benchmarks.machine import print_result
from benchmarks.valkey import Server, valkey

TTL_S = 86_400
REQUEST = 64
LAYOUTS: tuple[Layout, ...] = ("string", "packed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2_000_000, help="that there are")
    parser.add_argument("--memory-mb", type=int, default=64, help="the server's limit")
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--exponent", type=float, default=1.0)
    parser.add_argument("--code-bytes", type=int, default=48)
    parser.add_argument("--policies", default="allkeys-lru,allkeys-lfu,volatile-lru")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    shares = 1.0 / np.arange(1, arguments.texts + 1) ** arguments.exponent
    shares = shares.cumsum() / shares.sum()
    results: list[dict[str, Any]] = []
    for policy in arguments.policies.split(","):
        for layout in LAYOUTS:
            limit = ("--maxmemory", f"{arguments.memory_mb}mb", "--maxmemory-policy", policy)
            with valkey(cores[0], *limit) as server:
                result = measure(server, layout, shares, arguments)
            results.append({"policy": policy, "layout": layout, **result})
            print(json.dumps(results[-1]), flush=True)
    fixed = {name: getattr(arguments, name) for name in ("texts", "memory_mb", "code_bytes")}
    print_result(
        "cache_eviction", {**fixed, "exponent": arguments.exponent, "ttl_s": TTL_S, "runs": results}
    )


def measure(
    server: Server, layout: Layout, shares: NDArray[np.float64], arguments: argparse.Namespace
) -> dict[str, Any]:
    cache = Ours(server.url, layout, arguments.code_bytes, TTL_S)
    random = np.random.default_rng(0)
    asked = found = 0
    for number in range(arguments.requests):
        # Shuffled ranks do no harm: digests spread whatever the texts are.
        ranks = np.searchsorted(shares, random.random(REQUEST))
        texts = [text_of(int(rank)) for rank in ranks]
        missing = cache.get_or_put(texts)
        if number >= arguments.requests // 2:
            asked += len(texts)
            found += len(texts) - missing
    cache.settle()
    held = codes_held(server, layout)
    result = {
        "hit_ratio": round(found / asked, 4),
        "best_possible": round(float(shares[min(held, len(shares)) - 1]), 4),
        "codes_held": held,
        "evicted_keys": int(server.client.info("stats")["evicted_keys"]),
        "errors": cache.errors(),
    }
    cache.close()
    return result


def codes_held(server: Server, layout: Layout) -> int:
    if layout == "string":
        return int(server.client.dbsize())
    total = 0
    names: Sequence[bytes] = list(server.client.scan_iter("php:*", count=1000))
    for start in range(0, len(names), 1000):
        pipeline = server.client.pipeline(transaction=False)
        for name in names[start : start + 1000]:
            pipeline.hlen(name)
        total += sum(pipeline.execute())
    return total


if __name__ == "__main__":
    main()
