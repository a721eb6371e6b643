"""From how many tasks on one encoder with a head a task is cheaper than a student a task.

    python -m benchmarks.break_even [--data DATA] [--texts 256] [--rounds 5] [--out docs/break-even]
        [--students RUN/students] [--accuracy encoder=FILE --accuracy 3x384=FILE ...]

Measured in alternation on the same texts, engine, number format and cores: a pass of the shipped
encoder, of its distilled students, of an encoder of RoBERTa-large's shape and of a student of six
layers (the paper's pair; fewer texts); tokenizing; looking codes up in Valkey; the product of the
heads of 1 to 50 tasks. Shapes whose weights are not given get random ones, which take as long. A
student's pass has its own head with it. From each round come the costs of one text, and from them
the break-even (models.training.encoder.cost). `--out` gets a table (.md) and a figure (.svg).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from app.cache.address import connect
from app.cache.code_cache import CodeCache
from app.cache.embedded import EmbeddedValkey
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts
from app.cache.layouts import open_store
from app.metrics import Metrics
from benchmarks.break_even_report import HIT_RATIOS, Pair, table, write_figure
from benchmarks.machine import machine, print_result, spread
from benchmarks.networks import network, shipped_encoder, write_random
from benchmarks.texts import texts_of
from models.encoder import Encoder
from models.head_runtime import HeadStack, LinearHead
from models.packing import partition
from models.tokens import Ids
from models.training.encoder.cost import (
    LARGE,
    SIX_LAYERS,
    Costs,
    TransformerShape,
    break_even,
    transformer_operations,
)
from models.training.encoder.results import mean_accuracies
from models.training.encoder.students import STUDENTS

# Classes of the 42 tasks of docs/experiments.md.
CLASSES = (
    *(6, 2, 4, 21, 77, 2, 13, 2, 150, 2, 2, 2, 5, 3, 14, 2, 3, 28, 2, 2, 20, 6, 2, 20, 2, 2, 7),
    *(2, 5, 3, 2, 50, 6, 20, 4, 2, 2, 2, 3, 3, 2, 2),
)
TASKS = (1, 10, 20, 50)
LEAST_SECONDS = 0.1  # quick work is repeated until it has taken so long
REQUEST = 32  # texts of one look-up and of one product of heads
ENCODER = TransformerShape(6, 384, 1536)
# Encoder and student, by the names that they have in the results.
PAIRS = (*(("encoder", name) for name in STUDENTS), ("24x1024", "6x768"))
Runner = Callable[[], float]  # goes over all texts and says how many seconds that took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--large-texts", type=int, default=32)
    parser.add_argument("--calibration", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("int8", "bf16", "fp32"), default="int8")
    parser.add_argument("--students", type=Path, help="folder of students; random without it")
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--accuracy", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    texts = texts_of("short", arguments.texts + arguments.calibration, arguments.data)
    calibration, texts = texts[: arguments.calibration], texts[arguments.calibration :]
    accuracies, judged = accuracies_of(arguments.accuracy)
    with tempfile.TemporaryDirectory() as folder:
        runners = make_runners(Path(folder), texts, calibration, arguments)
        times = measure(runners, arguments.rounds)
    pairs = [pair for pair in PAIRS if pair[0] in times]
    costs = {pair: [costs_of(pair, times, n) for n in range(arguments.rounds)] for pair in pairs}
    result = {
        "dtype": arguments.dtype,
        "threads": arguments.threads,
        "texts": len(texts),
        "us_a_text": {name: spread(values, 2) for name, values in times.items()},
        "pairs": [summary(pair, costs[pair]) for pair in pairs],
        "mean_test_accuracy": {name: round(value, 2) for name, value in accuracies.items()},
        "accuracy_tasks": judged,
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        drawn = [Pair(*pair, median_costs(costs[pair])) for pair in pairs]
        text = table(drawn, result, machine())
        arguments.out.with_suffix(".md").write_text(text)
        write_figure(drawn, accuracies, arguments.out.with_suffix(".svg"))
    print_result("break_even", result)


def accuracies_of(given: Sequence[str]) -> tuple[dict[str, float], int]:
    """Mean test accuracies from results files, given as `NAME=FILE`."""
    if not given:
        return {}, 0
    return mean_accuracies(
        {name: Path(file) for name, file in (one.split("=", 1) for one in given)}
    )


def make_runners(
    folder: Path, texts: list[str], calibration: list[str], arguments: argparse.Namespace
) -> dict[str, tuple[Runner, int]]:
    """What is timed, by name, and how many texts each goes over."""
    dtype, threads = arguments.dtype, arguments.threads
    encoder = shipped_encoder(dtype, threads)
    few = texts[: arguments.large_texts]
    runners: dict[str, tuple[Runner, int]] = {
        "encoder": (passes(encoder, texts), len(texts)),
        "tokenizing": (timed(lambda: encoder.tokenize(texts)), len(texts)),
        "lookup": (lookups(folder / "valkey", encoder, texts), len(texts)),
    }
    for tasks in TASKS:
        runners[f"heads of {tasks}"] = (heads(encoder.info.bits, tasks, len(texts)), len(texts))
    wanted: list[tuple[str, TransformerShape, list[str]]] = [
        (name, student.shape, texts) for name, student in STUDENTS.items()
    ]
    if arguments.large:
        wanted += [("24x1024", LARGE, few), ("6x768", SIX_LAYERS, few)]
    for name, shape, some in wanted:
        given = arguments.students / name if arguments.students and name in STUDENTS else None
        weights = given or write_random(folder / name, shape)
        made = network(weights, dtype, threads, calibration)
        runners[name] = (passes(made, some, classes=12), len(some))
        print(json.dumps({"made": name, "random": given is None}), flush=True)
    return runners


def timed(work: Callable[[], Any]) -> Runner:
    """The mean of as many goes as make up `LEAST_SECONDS`."""

    def run() -> float:
        started, goes = time.perf_counter(), 0
        while True:
            work()
            goes += 1
            seconds = time.perf_counter() - started
            if seconds >= LEAST_SECONDS:
                return seconds / goes

    return run


def passes(encoder: Encoder, texts: Sequence[str], classes: int = 0) -> Runner:
    """All texts through a network, packed as in service; with `classes`, through a head as well."""
    rows: list[Ids] = [one.windows[0] for one in encoder.tokenize(texts)]
    batches = list(partition([len(row) for row in rows], encoder.batching))
    weight = np.random.default_rng(0).normal(size=(encoder.info.bits, classes)).astype(np.float32)
    workers = ThreadPoolExecutor(encoder.batching.workers)

    def forward(batch: tuple[list[int], int]) -> None:
        chosen, width = batch
        done = encoder.forward([rows[row] for row in chosen], width, embeddings=classes > 0)
        if done.embeddings is not None:
            (done.embeddings @ weight).argmax(axis=1)

    return timed(lambda: list(workers.map(forward, batches)))


def heads(bits: int, tasks: int, texts: int) -> Runner:
    """The heads of some tasks on codes, a request's texts at once."""
    random = np.random.default_rng(0)
    stack = HeadStack(
        [
            LinearHead(
                random.normal(size=(bits, CLASSES[n % len(CLASSES)])).astype(np.float32),
                np.zeros(CLASSES[n % len(CLASSES)], dtype=np.float32),
            )
            for n in range(tasks)
        ],
        ["single_label"] * tasks,
    )
    codes = random.integers(0, 256, (texts, bits // 8), dtype=np.uint8)
    return timed(lambda: [stack.best(codes[at : at + REQUEST]) for at in range(0, texts, REQUEST)])


def lookups(folder: Path, encoder: Encoder, texts: list[str]) -> Runner:
    """Digests of texts and their codes from a Valkey server, which is not in the time it takes."""
    width, name = encoder.info.code_bytes, encoder.info.fingerprint
    chance = np.random.default_rng(0)

    async def look_up_all(cache: CodeCache) -> None:
        for at in range(0, len(texts), REQUEST):
            digests = digest_texts(name, texts[at : at + REQUEST])
            assert None not in await cache.get_many(name, width, digests)

    async def look() -> float:
        server = EmbeddedValkey(folder, 64)
        await server.start()
        store = open_store(connect(server.url, 5.0), "string", ttl_s=0, timeout_s=5.0)
        cache = CodeCache(store, FrontCache(0), Metrics())
        try:
            digests = digest_texts(name, texts)
            stored = {one: StoredCode(chance.bytes(width), 24, False) for one in digests}
            await cache.set_many(name, stored)
            started, goes = time.perf_counter(), 0
            while goes == 0 or time.perf_counter() - started < LEAST_SECONDS:
                await look_up_all(cache)
                goes += 1
            return (time.perf_counter() - started) / goes
        finally:
            await cache.close()
            await server.stop()

    return lambda: asyncio.run(look())


def measure(runners: dict[str, tuple[Runner, int]], rounds: int) -> dict[str, list[float]]:
    """Microseconds a text by name, of every round; all in turn, each round from another on."""
    for runner, _ in runners.values():
        runner()  # every shape once: its kernels are made at the first meeting
    times: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            runner, texts = runners[name]
            times[name].append(runner() / texts * 1e6)
        print(
            json.dumps({"round": number} | {n: round(t[-1], 1) for n, t in times.items()}),
            flush=True,
        )
    return times


def costs_of(pair: tuple[str, str], times: dict[str, list[float]], number: int) -> Costs:
    """Microseconds a text of one round. Heads: a line through their numbers of tasks."""
    encoder, student = pair
    by_tasks = [times[f"heads of {tasks}"][number] for tasks in TASKS]
    head, fixed = np.polyfit(TASKS, by_tasks, 1)
    return Costs(
        encoder=times[encoder][number],
        head=max(0.0, float(head)),
        student=times[student][number],
        tokenizing=times["tokenizing"][number],
        lookup=times["lookup"][number] + max(0.0, float(fixed)),
    )


def median_costs(costs: Sequence[Costs]) -> Costs:
    """Each cost's median."""
    return Costs(
        **{
            name: float(np.median([getattr(one, name) for one in costs]))
            for name in Costs.__slots__
        }
    )


def summary(pair: tuple[str, str], costs: Sequence[Costs]) -> dict[str, Any]:
    """Of one encoder beside one student."""
    shapes = {"encoder": ENCODER, "24x1024": LARGE, "6x768": SIX_LAYERS}
    shapes |= {name: student.shape for name, student in STUDENTS.items()}
    counts = [transformer_operations(shapes[name], 24) for name in pair]
    return {
        "encoder": pair[0],
        "student": pair[1],
        "encoder_in_students": spread([one.encoder / one.student for one in costs], 2),
        "by_operations": round(counts[0] / counts[1], 2),
        "break_even_tasks": {
            str(ratio): _tasks([break_even(one, ratio) for one in costs]) for ratio in HIT_RATIOS
        },
        "break_even_tasks_if_answers_are_cached_too": {
            str(ratio): _tasks([break_even(one, ratio, ratio) for one in costs])
            for ratio in HIT_RATIOS
        },
    }


def _tasks(found: Sequence[int | None]) -> dict[str, float] | None:
    """None where students are cheaper for any number of tasks, in any round."""
    numbers = [float(one) for one in found if one is not None]
    return spread(numbers, 0) if len(numbers) == len(found) else None


if __name__ == "__main__":
    main()
