"""The code cache alone: memory of both layouts, and speed, beside RedisVL's and LangChain's.

    python -m benchmarks.cache [--entries 1000000] [--code-bytes 48] [--peer-entries 20000]

Memory is the server's own count (`used_memory`) after filling, less that of the empty server, each
in a fresh server of one and the same command line; `resident` is what the system gave it. Speed is
of one blocking caller, all in one server, rounds in turn; everything asked for is there. Texts in,
results out: digests, round trip and decoding are in the time, encoding a text is not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.cache_peers import LangChain, Ours, RedisVL, Subject
from benchmarks.machine import print_result, spread
from benchmarks.peers import installed
from benchmarks.valkey import Server, valkey

TTL_S = 86_400
FILL = 1000
MANY = 256

Make = Callable[[Server], Subject]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--peer-entries", type=int, default=20_000)
    parser.add_argument("--speed-entries", type=int, default=100_000)
    parser.add_argument("--code-bytes", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round and subject")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    server_core = cores[0]
    os.sched_setaffinity(0, {cores[-1]})
    ours, peers = subjects(arguments.code_bytes, TTL_S)
    memory: dict[str, Any] = {}
    for name, make in {**ours, **peers}.items():
        entries = arguments.entries if name in ours else arguments.peer_entries
        memory[name] = measure_memory(make, entries, server_core)
        print(name, json.dumps(memory[name]), flush=True)
    for name in peers:
        for layout in ours:
            ratio = memory[name]["bytes_an_entry"] / memory[layout]["bytes_an_entry"]
            memory[layout][f"times_smaller_than_{name}"] = round(ratio, 1)
    result = {
        "code_bytes": arguments.code_bytes,
        "ttl_s": TTL_S,
        "one_core": len(cores) == 1,
        "memory": memory,
        "speed": measure_speed(arguments, server_core),
    }
    print_result("cache", result)


def subjects(code_bytes: int, ttl_s: int) -> tuple[dict[str, Make], dict[str, Make]]:
    """Ours, and those of the peers that are installed."""
    ours: dict[str, Make] = {
        "string": lambda server: Ours(server.url, "string", code_bytes, ttl_s),
        "packed": lambda server: Ours(server.url, "packed", code_bytes, ttl_s),
    }
    peers: dict[str, Make] = {}
    if installed("redisvl"):
        peers["redisvl"] = lambda server: RedisVL(server.socket, ttl_s)
    if installed("langchain_classic") and installed("langchain_community"):
        peers["langchain"] = lambda server: LangChain(server.socket, ttl_s)
    return ours, peers


def text_of(number: int) -> str:
    return f"My card ending in {number} has not arrived yet, could you tell me where it is?"


def fill(subject: Subject, entries: int) -> float:
    """Store entries; texts/s."""
    started = time.perf_counter()
    for start in range(0, entries, FILL):
        subject.put([text_of(number) for number in range(start, min(start + FILL, entries))])
    return entries / (time.perf_counter() - started)


def measure_memory(make: Make, entries: int, core: int) -> dict[str, Any]:
    with valkey(core) as server:
        subject = make(server)
        used, resident = server.memory()
        stored_per_s = fill(subject, entries)
        subject.settle()
        used_then, resident_then = server.memory()
        sample = np.random.default_rng(1).integers(0, entries, 10_000)
        missing = len(sample) - subject.get([text_of(int(number)) for number in sample])
        assert missing == 0, f"{missing} of {len(sample)} are not there"
        result = {
            "entries": entries,
            "bytes_an_entry": round((used_then - used) / entries, 2),
            "resident_bytes_an_entry": round((resident_then - resident) / entries, 2),
            "keys": server.client.dbsize(),
            "stored_per_s": round(stored_per_s),
        }
        subject.close()
        return result


def measure_speed(arguments: argparse.Namespace, core: int) -> dict[str, Any]:
    """Texts a second and latencies by subject, for requests of many texts and of one."""
    ours, peers = subjects(arguments.code_bytes, TTL_S)
    # RedisVL extends an entry's life at every hit, a round trip each; without lives it is faster.
    _, lasting = subjects(arguments.code_bytes, 0)
    makes = {**ours, **peers}
    if "redisvl" in lasting:
        makes["redisvl_without_expiry"] = lasting["redisvl"]
    with valkey(core) as server:
        entries = {
            name: arguments.speed_entries if name in ours else arguments.peer_entries
            for name in makes
        }
        made: dict[str, Subject] = {}
        for name, make in makes.items():
            if name == "redisvl_without_expiry":
                for key in server.client.scan_iter("embedcache:*", count=1000):
                    server.client.persist(key)
            made[name] = make(server)
            if name != "redisvl_without_expiry":  # the same entries
                fill(made[name], entries[name])
                made[name].settle()
        result: dict[str, Any] = {}
        for size in (MANY, 1):
            result[f"get_{size}"] = in_turn(made, entries, size, arguments)
        for subject in made.values():
            subject.close()
    return result


def in_turn(
    made: dict[str, Subject], entries: dict[str, int], size: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Rounds of all subjects in turn."""
    rates: dict[str, list[float]] = {name: [] for name in made}
    times: dict[str, list[float]] = {name: [] for name in made}
    for number in range(arguments.rounds):
        for name, subject in made.items():
            seconds = ask(subject, entries[name], size, arguments.seconds, seed=number)
            rates[name].append(size * len(seconds) / sum(seconds))
            times[name] += seconds
    results: dict[str, Any] = {}
    for name in made:
        p50, p99 = np.percentile(times[name], [50, 99])
        results[name] = {
            "texts_per_s": spread(rates[name], 0),
            "p50_ms": round(p50 * 1e3, 3),
            "p99_ms": round(p99 * 1e3, 3),
        }
        for peer in ("redisvl", "redisvl_without_expiry", "langchain"):
            if peer in made and name in ("string", "packed"):
                pairs = zip(rates[name], rates[peer], strict=True)
                results[name][f"times_{peer}"] = spread([a / b for a, b in pairs], 1)
        print(f"get_{size}", name, json.dumps(results[name]), flush=True)
    return results


def ask(subject: Subject, entries: int, size: int, seconds: float, seed: int) -> list[float]:
    """Times of requests for random texts that are there."""
    random = np.random.default_rng(seed)
    times: list[float] = []
    subject.get(_texts(random, entries, size))
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        texts = _texts(random, entries, size)
        started = time.perf_counter()
        found = subject.get(texts)
        times.append(time.perf_counter() - started)
        assert found == size
    return times


def _texts(random: np.random.Generator, entries: int, size: int) -> Sequence[str]:
    return [text_of(int(number)) for number in random.integers(0, entries, size)]


if __name__ == "__main__":
    main()
