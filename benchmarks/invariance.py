"""Do batch-mates or padding change a code? Every text alone against random batches.

    python -m benchmarks.invariance [--texts 10000] [--profiles openvino-cpu-int8,...]

Rows of ordinary vocabulary in every length that the encoder takes, short ones more often. Each is
encoded alone, then in batches of 2 to 64 with others: of any lengths where the encoder mixes them
(half of the batches sorted by length, half not sorted at all, and with more padding than needed),
of its own padded length where it does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from app.settings import DEFAULT_ENCODER
from benchmarks.machine import print_result
from models.codes import hamming
from models.encoder import Encoder
from models.loading import load_profile, offers_of
from models.profiles import runnable_profiles, this_machine
from models.source import open_source
from models.tokens import Ids

LARGEST_BATCH = 64
BATCH_TOKENS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--profiles", default="")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    source = open_source(DEFAULT_ENCODER)
    wanted = set(filter(None, arguments.profiles.split(",")))
    figures = {}
    for profile in runnable_profiles(this_machine(), offers_of(source)):
        if wanted and profile.name not in wanted:
            continue
        encoder = load_profile(source, profile, arguments.threads)
        rows = token_rows(encoder.info.max_tokens, arguments.texts)
        flipped, bits, batches = flipped_bits(encoder, rows)
        figures[profile.name] = {"flipped": flipped, "bits": bits, "batches": batches}
        print(profile.name, figures[profile.name], flush=True)
    print_result("invariance", {"texts": arguments.texts, "profiles": figures})


def token_rows(longest: int, count: int, seed: int = 0) -> list[Ids]:
    """Token rows of every length, short ones more often, as in real traffic."""
    random = np.random.default_rng(seed)
    lengths = list(range(3, longest + 1))[:count]
    weights = 1.0 / np.array(lengths)
    more = random.choice(lengths, count - len(lengths), p=weights / weights.sum())
    rows = []
    for length in (*lengths, *more.tolist()):
        # Ordinary vocabulary between the special tokens of a BERT tokenizer.
        inner = random.integers(1_996, 29_000, length - 2)
        rows.append(np.concatenate([[101], inner, [102]]).astype(np.int32))
    return rows


def flipped_bits(encoder: Encoder, rows: list[Ids], seed: int = 1) -> tuple[int, int, int]:
    """Bits that differ between alone and in company: `(flipped, compared, batches)`."""
    rule = encoder.batching
    alone = np.zeros((len(rows), encoder.info.bits // 8), dtype=np.uint8)
    together = np.zeros_like(alone)

    def run_alone(index: int) -> None:
        alone[index] = encoder.forward([rows[index]], rule.width(len(rows[index]))).codes[0]

    def run_batch(batch: tuple[list[int], int]) -> None:
        chosen, width = batch
        together[chosen] = encoder.forward([rows[i] for i in chosen], width).codes

    batches = list(_batches(encoder, rows, seed))
    with ThreadPoolExecutor(rule.workers) as workers:
        list(workers.map(run_alone, range(len(rows))))
        list(workers.map(run_batch, batches))
    return int(hamming(alone, together).sum()), alone.size * 8, len(batches)


def _batches(encoder: Encoder, rows: list[Ids], seed: int) -> Iterator[tuple[list[int], int]]:
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    rule = encoder.batching
    if rule.buckets is not None:
        padded = np.array([rule.width(len(row)) for row in rows])
        for bucket in rule.buckets:
            members = random.permutation(np.flatnonzero(padded == bucket)).tolist()
            yield from ((chosen, bucket) for chosen in _sized(members, bucket, random))
        return
    half = len(order) // 2
    by_length = sorted(order[:half].tolist(), key=lambda index: len(rows[index]))
    for members in (by_length, order[half:].tolist()):
        for chosen in _sized(members, encoder.info.max_tokens // 4, random):
            longest = max(len(rows[i]) for i in chosen)
            spare = int(random.integers(0, 40)) if random.random() < 0.5 else 0
            yield chosen, min(rule.width(longest + spare), encoder.info.max_tokens)


def _sized(members: list[int], length: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Batches of 2 to 64, nobody left alone where there are two."""
    largest = max(2, min(LARGEST_BATCH, BATCH_TOKENS // length))
    start = 0
    while start < len(members):
        size = int(random.integers(2, largest + 1))
        if len(members) - start - size < 2:
            size = len(members) - start
        yield members[start : start + size]
        start += size


if __name__ == "__main__":
    main()
