"""What the capacity model and the simulator say of this machine, and what is measured then.

    python -m benchmarks.capacity_check [--rounds 3] [--seconds 8] [--out FILE]

Each round has a service (all in one, no front cache) and a Valkey server of its own. It is
calibrated with texts of its own: new ones now and then, new ones and known ones as fast as they are
answered. From that, and nothing later, come the predictions; they are written to `--out` before the
first text is asked for which they were made. Then single texts by Zipf's law, some never to come
again: as fast as they are answered, then at random times at shares of the predicted capacity. Once,
a cache under a memory limit is asked likewise, without an encoder. Errors are (predicted -
measured) / measured, in percent.

The load generator is on the same cores, in the calibration too. At the end of a round the two
speeds are measured once more: what they moved by is the machine's part in the errors of all that is
by the clock. Processor time (of the service, of the cache server) does not depend on who else wants
the cores, but for what they do to caches and clocks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache import text_of
from benchmarks.cache_peers import Ours
from benchmarks.capacity_figures import Rates
from benchmarks.load import Answered, answer_all, post
from benchmarks.machine import machine, print_result
from benchmarks.popularity import distinct, hit_ratio, zipf
from benchmarks.serve_encode import scrape
from benchmarks.service import free_port, start_service, wait_until_ready
from benchmarks.simulate import Outcome, Simulation, System, Times, Trace
from benchmarks.texts import texts_of
from benchmarks.valkey import Server, valkey
from models.openvino.encoder import BATCH_TOKENS, OVERHEAD_TOKENS, PAIR_TOKENS
from models.packing import BatchRule

TEXTS = 10_000  # that come again
UNIQUE = 0.1
EXPONENT = 1.0
SHARES = (0.5, 0.8, 1.3)  # of the predicted capacity
TASKS = ["emotion", "sentiment", "humour"]
CLOSED, OPEN = 32, 1000
RULE = BatchRule(BATCH_TOKENS, OVERHEAD_TOKENS, workers=2, attention=PAIR_TOKENS)
LEAST_JITTER = 0.2
LIMIT_MB, LIMIT_TEXTS, LIMIT_ASKED = 4, 50_000, 120_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured before the predictions.

    Attributes:
        hits_a_s: known texts a second, as fast as they are answered.
        misses_a_s: new texts a second, likewise.
        hit_p50_s: a known text now and then.
        times: what the simulator goes by.
        tokens_a_word: of the texts.
        cpu_s_a_second: processor time of the service that nobody asks.
        cpu_s_a_hit: and for a known text.
        cpu_s_a_miss: for a new one.
        redis_s_a_read: processor time of the server for a request of one known text.
        redis_s_a_write: in addition, for a text that was stored.
    """

    hits_a_s: float
    misses_a_s: float
    hit_p50_s: float
    times: Times
    tokens_a_word: float
    cpu_s_a_second: float
    cpu_s_a_hit: float
    cpu_s_a_miss: float
    redis_s_a_read: float
    redis_s_a_write: float


@dataclass(frozen=True, slots=True)
class Watched:
    """Requests and what they took.

    Attributes:
        done: the answers.
        grown: what the service counted meanwhile.
        service_s: processor time of the service.
        redis_s: and of the cache server.
    """

    done: Answered
    grown: dict[str, float]
    service_s: float
    redis_s: float

    @property
    def encoded(self) -> float:
        return self.grown["polyhead_encoder_passes_total"]


@dataclass(frozen=True, slots=True)
class Phase:
    """Texts `first` to `end` of the stream; `due` is empty for as fast as they are answered."""

    name: str
    first: int
    end: int
    rate: float
    due: list[float]


class Service:
    """A running service and its cache server, watched."""

    def __init__(self, port: int, pid: int, server: Server) -> None:
        self._port, self._pid, self.server = port, pid, server
        base = texts_of("short", 3000, None)
        self._new = (ask(f"calibration {n} {base[n % len(base)]}") for n in itertools.count())
        self.known = self.new(200)

    def new(self, count: int) -> list[bytes]:
        """Requests of texts that nobody asked for."""
        return list(itertools.islice(self._new, count))

    def asks(self, requests: list[bytes], due: list[float] | None = None) -> Watched:
        """As fast as they are answered, or when they are due."""
        before, service, redis = scrape(self._port), cpu_seconds(self._pid), self._redis_s()
        connections = CLOSED if due is None else OPEN
        done = answer_all(self._port, requests, connections=connections, due=due)
        after = scrape(self._port)
        grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
        service, redis = cpu_seconds(self._pid) - service, self._redis_s() - redis
        return Watched(done, grown, service, redis)

    def idle(self, seconds: float) -> float:
        """Processor time a second while nobody asks."""
        before = cpu_seconds(self._pid)
        time.sleep(seconds)
        return (cpu_seconds(self._pid) - before) / seconds

    def _redis_s(self) -> float:
        info = self.server.client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def speeds(self, new: int, known: int) -> tuple[Watched, Watched]:
        """New texts, then known ones, as fast as they are answered."""
        missed = self.asks(self.new(new))
        self.asks(self.known)
        places = np.random.default_rng(5).integers(len(self.known), size=known).tolist()
        return missed, self.asks([self.known[place] for place in places])


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Stream:
    """Numbers of texts by Zipf's law, and the texts."""

    def __init__(self, seed: int, length: int = 60_000) -> None:
        random = np.random.default_rng(seed)
        weights = np.arange(1, TEXTS + 1) ** -EXPONENT
        self.numbers = random.choice(TEXTS, length, p=weights / weights.sum())
        new = random.random(length) < UNIQUE
        self.numbers[new] = TEXTS + np.arange(length)[new]
        self._base = texts_of("short", 3000, None)
        self.words = np.array([len(text.split()) + 1 for text in self._base])

    def request(self, number: int) -> bytes:
        return ask(f"text {number} {self._base[number % len(self._base)]}")

    def requests(self, first: int, end: int) -> list[bytes]:
        return [self.request(number) for number in self.numbers[first:end].tolist()]

    def tokens(self, first: int, end: int, a_word: float) -> NDArray[np.int64]:
        words = self.words[self.numbers[first:end] % len(self._base)] + 1
        return np.maximum(1, np.round(words * a_word)).astype(np.int64)


def ask(text: str) -> bytes:
    return post("/v1/predict", json.dumps({"inputs": text, "tasks": TASKS}).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each open loop")
    parser.add_argument("--out", type=Path, default=Path("docs/results/capacity.json"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "machine": machine(),
        "traffic": {"texts": TEXTS, "unique": UNIQUE, "exponent": EXPONENT, "tasks": TASKS},
        "rounds": [],
    }
    result["eviction"] = eviction()
    print(json.dumps(result["eviction"]), flush=True)
    for number in range(arguments.rounds):
        one: dict[str, Any] = {}
        result["rounds"].append(one)
        run_round(number, arguments.seconds, one, lambda: write(arguments.out, result))
        write(arguments.out, result)
    print_result("capacity_check", {"rounds": [one["error"] for one in result["rounds"]]})


def write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def run_round(number: int, seconds: float, one: dict[str, Any], save: Any) -> None:
    """Calibrate, predict, save, measure."""
    stream = Stream(seed=number)
    with tempfile.TemporaryDirectory() as folder, valkey(None) as server:
        port = free_port()
        settings = {"REDIS_URL": server.url, "POLYHEAD_CACHE_FRONT_MB": "0"}
        settings |= {"POLYHEAD_CACHE_TTL_S": "86400", "POLYHEAD_THREADS": str(RULE.workers)}
        process = start_service(port, Path(folder) / "data", None, **settings)
        try:
            wait_until_ready(port)
            service = Service(port, process.pid, server)
            found = calibrate(service, stream)
            one["calibration"] = {**asdict(found), "times": _without_jitter(found.times)}
            phases = plan_phases(stream, found, seconds, seed=number)
            one["predicted"] = predict(stream, found, phases)
            save()
            print(json.dumps(one), flush=True)
            server.client.flushdb()
            one["measured"] = measure(service, stream, phases)
            missed, hit = service.speeds(400, 2000)
            one["moved_percent"] = {
                "hits_a_s": percent(_rate(hit), found.hits_a_s),
                "misses_a_s": percent(_rate(missed), found.misses_a_s),
            }
        finally:
            process.terminate()
            process.wait()
    one["error"] = errors(one["predicted"], one["measured"])
    said = {name: one[name] for name in ("measured", "moved_percent", "error")}
    print(json.dumps(said), flush=True)


def percent(value: float, of: float) -> float:
    """How much a value is over another one."""
    return round(100 * (value - of) / of, 1)


def _rate(watched: Watched) -> float:
    """Texts answered a second."""
    return watched.done.statuses.count(200) / watched.done.seconds


def _without_jitter(times: Times) -> dict[str, float]:
    return {name: value for name, value in asdict(times).items() if name != "jitter"}


def calibrate(service: Service, stream: Stream) -> Calibration:
    """With texts that are not of the stream."""
    warm = service.asks(service.new(400))
    rare = service.asks(service.new(200), spaced(200, 0.025))
    missed, hit = service.speeds(max(400, int(5 * 400 / warm.done.seconds)), 6000)
    rare_hit = service.asks(service.known, spaced(len(service.known), 0.01))
    request = 1 / _rate(hit)
    low, high = _pass(rare.grown), _pass(missed.grown)
    token = max(0.0, (high[1] - low[1]) / max(1.0, high[0] - low[0]))
    hit_p50 = float(np.percentile(rare_hit.done.latencies, 50))
    waits = np.array(rare.done.latencies) - hit_p50
    jitter = np.maximum(LEAST_JITTER, waits / waits.mean())
    cpu_hit, redis_hit = (
        seconds / len(hit.done.statuses) for seconds in (hit.service_s, hit.redis_s)
    )
    refused = missed.done.statuses.count(429)
    words = float(np.mean(stream.words)) + 1
    return Calibration(
        hits_a_s=_rate(hit),
        misses_a_s=_rate(missed),
        hit_p50_s=hit_p50,
        times=Times(
            request=request,
            answer=request,  # assumed: storing and answering take as long again
            pass_fixed=max(0.0, high[1] - token * high[0]),
            pass_token=token,
            aside=max(0.0, hit_p50 - request),
            jitter=tuple((jitter / jitter.mean()).tolist()),
        ),
        tokens_a_word=missed.grown["polyhead_encoded_tokens_total"] / missed.encoded / words,
        cpu_s_a_second=service.idle(3.0),
        cpu_s_a_hit=cpu_hit,
        cpu_s_a_miss=(missed.service_s - refused * cpu_hit) / missed.encoded,
        redis_s_a_read=redis_hit,
        redis_s_a_write=max(0.0, missed.redis_s / missed.encoded - redis_hit),
    )


def spaced(count: int, gap: float) -> list[float]:
    return [number * gap for number in range(count)]


def _pass(grown: dict[str, float]) -> tuple[float, float]:
    """Mean tokens and seconds of a pass."""
    passes = grown["polyhead_encoder_batches_total"]
    return (
        grown["polyhead_batch_tokens_sum"] / passes,
        grown["polyhead_inference_duration_seconds_sum"] / passes,
    )


def capacity(found: Calibration, hits: float) -> float:
    """Texts a second: processor time adds up, as in `benchmarks.capacity`."""
    return 1.0 / (hits / found.hits_a_s + (1.0 - hits) / found.misses_a_s)


def expected_hits(first: int, end: int) -> float:
    """Of the texts `first` to `end` of a stream, all before them being in the cache."""
    popularity = zipf(TEXTS, EXPONENT, UNIQUE)
    return 1.0 - (distinct(popularity, end) - distinct(popularity, first)) / (end - first)


def plan_phases(stream: Stream, found: Calibration, seconds: float, seed: int) -> list[Phase]:
    """A closed loop, then open ones, at rates that follow from the calibration."""
    random = np.random.default_rng(100 + seed)
    phases = [Phase("closed", 0, max(500, int(found.misses_a_s * seconds)), 0.0, [])]
    for share in SHARES:
        first = phases[-1].end
        rate = found.misses_a_s
        for _ in range(20):  # the rate decides how many texts, and these the hit ratio
            rate = share * capacity(found, expected_hits(first, first + int(rate * seconds)))
        due = np.cumsum(random.exponential(1 / rate, int(rate * seconds))).tolist()
        end = first + len(due)
        if end > len(stream.numbers):
            raise ValueError(f"the stream has {len(stream.numbers)} texts, {end} are wanted")
        phases.append(Phase(f"{share:.0%} of capacity", first, end, rate, due))
    return phases


def predict(stream: Stream, found: Calibration, phases: list[Phase]) -> dict[str, Any]:
    """By the formulas, and by the simulator what depends on chance and queues."""
    system = System(found.times, RULE, max_queue_s=0.25)
    result: dict[str, Any] = {}
    for phase in phases:
        hits = expected_hits(phase.first, phase.end)
        texts = phase.end - phase.first
        row = result[phase.name] = {"hit_ratio": hits, "rate": phase.rate}
        a_text = hits * found.cpu_s_a_hit + (1 - hits) * found.cpu_s_a_miss
        busy = phase.due[-1] if phase.due else texts / capacity(found, hits)
        row["service_cpu_s"] = texts * a_text + busy * found.cpu_s_a_second
        if not phase.due:
            row["answered_a_s"] = capacity(found, hits)
            continue
        numbers = stream.numbers[phase.first : phase.end]
        tokens = stream.tokens(phase.first, phase.end, found.tokens_a_word)
        known = np.unique(stream.numbers[: phase.first]).tolist()
        trace = Trace(np.array(phase.due), numbers, tokens)
        done = Simulation(system, trace, known=known).run()
        row["p50_ms"] = done.percentile(50) * 1e3
        row["p99_ms"] = done.percentile(99) * 1e3
        row["refused"] = done.share(Outcome.REFUSED, Outcome.UNREAD)
        row["answered_a_s"] = (1.0 - row["refused"]) * texts / phase.due[-1]
    codes = distinct(zipf(TEXTS, EXPONENT, UNIQUE), phases[-1].end)
    result["redis"] = {"codes": codes, "bytes": codes * Rates().string_bytes}
    result["redis"]["cpu_s"] = phases[-1].end * found.redis_s_a_read + codes * found.redis_s_a_write
    return result


def measure(service: Service, stream: Stream, phases: list[Phase]) -> dict[str, Any]:
    """The same texts at the same moments."""
    result: dict[str, Any] = {}
    used, _ = service.server.memory()
    redis_s = 0.0
    for phase in phases:
        seen = service.asks(stream.requests(phase.first, phase.end), phase.due or None)
        redis_s += seen.redis_s
        done, found = seen.done, seen.grown["polyhead_cache_hits_total"]
        taken = [
            seconds * 1e3
            for seconds, status in zip(done.latencies, done.statuses, strict=True)
            if status == 200
        ]
        result[phase.name] = {
            "hit_ratio": found / (found + seen.grown["polyhead_cache_misses_total"]),
            "answered_a_s": _rate(seen),
            "service_cpu_s": seen.service_s,
            "p50_ms": float(np.percentile(taken, 50)),
            "p99_ms": float(np.percentile(taken, 99)),
            "refused": done.statuses.count(429) / len(done.statuses),
            "other": sum(status not in (200, 429) for status in done.statuses),
            "late_p99_ms": float(np.percentile(done.lates, 99)) * 1e3,
        }
        time.sleep(1)
    codes = int(service.server.client.dbsize())
    held = service.server.memory()[0] - used
    result["redis"] = {"codes": codes, "bytes": held, "cpu_s": redis_s}
    return result


def errors(predicted: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """In percent of what was measured; of refusals and hits in points."""
    result: dict[str, Any] = {}
    for phase, row in predicted.items():
        of_phase = result[phase] = {}
        for name, value in row.items():
            seen = measured[phase].get(name)
            if seen is None:
                continue
            if name in ("refused", "hit_ratio"):
                of_phase[f"{name}_points"] = round(100 * (value - seen), 2)
            else:
                of_phase[f"{name}_percent"] = percent(value, seen)
    return result


def eviction() -> dict[str, Any]:
    """A server under a memory limit that drops the least recently used, and Che's approximation."""
    random = np.random.default_rng(11)
    weights = np.arange(1, LIMIT_TEXTS + 1) ** -EXPONENT
    numbers = random.choice(LIMIT_TEXTS, LIMIT_ASKED, p=weights / weights.sum()).tolist()
    limit = ("--maxmemory", f"{LIMIT_MB}mb", "--maxmemory-policy", "allkeys-lru")
    with valkey(None, *limit) as server:
        cache = Ours(server.url, "string", 192, 86_400)
        cache.get_or_put([text_of(-1)])
        empty, _ = server.memory()
        room = (LIMIT_MB * 2**20 - empty) / Rates().string_bytes
        popularity = zipf(LIMIT_TEXTS, EXPONENT)
        predicted = hit_ratio(popularity, room)
        missing = 0
        for start in range(0, LIMIT_ASKED, 64):
            texts = [text_of(number) for number in numbers[start : start + 64]]
            missed = cache.get_or_put(texts)
            missing += missed if start >= LIMIT_ASKED // 2 else 0
        held = int(server.client.dbsize())
        cache.close()
    measured = 1.0 - missing / (LIMIT_ASKED - LIMIT_ASKED // 2)
    return {
        "room_predicted": round(room),
        "codes_held": held,
        "predicted": predicted,
        "predicted_with_the_codes_held": hit_ratio(popularity, held),
        "measured": measured,
        "error_points": round(100 * (predicted - measured), 2),
    }


if __name__ == "__main__":
    main()
