"""Finding wrong labels, and the time that a search over stored codes takes.

    python -m benchmarks.similar --data DATA [--rows 2000] [--codes 100000]

DATA is a folder of tasks (TASK/train.jsonl.gz with meta.json). Labels of 5% of a task's training
rows are exchanged for others, at random; each way of looking for them ranks all rows, and is told
by the share of exchanged ones among as many first rows as were exchanged (precision, and recall:
at that number they are the same), and by its average precision. The rows' own mistakes, of which
there are some, count as false alarms. Beside ours: the out-of-fold probability of a row's label by
scikit-learn's logistic regression, which is what cleanlab ranks by ("self confidence").

The search is over random codes of 192 bytes, by numpy and by faiss where it is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from app.settings import DEFAULT_ENCODER
from benchmarks.labelled import drawn, labels_of
from benchmarks.machine import print_result, spread
from models.bulk import encode_texts
from models.codes import Codes, unpack_signs
from models.loading import load_encoder
from models.neighbours import nearest, nearest_by_numpy
from models.training.suspects import NEIGHBOURS, find_suspects

TASKS = ("ag_news", "trec6", "sst2")
WIDTH = 192
Doubts = dict[str, NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default=str(DEFAULT_ENCODER))
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--share", type=float, default=0.05, help="of labels that are exchanged")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--codes", type=int, default=100_000, help="that are searched")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"search_ms": search_times(arguments.codes)}
    print(found, flush=True)
    encoder = load_encoder(arguments.encoder, device="cpu", threads=arguments.threads)
    for task in TASKS:
        rows = drawn(arguments.data, task, "train", arguments.rows)
        codes = encode_texts(encoder, rows.texts)
        labels = len(labels_of(arguments.data, task))
        found[task] = measure(codes, rows.targets, labels, arguments.share, arguments.draws)
        print(task, found[task], flush=True)
    print_result("similar", {"rows": arguments.rows, "codes": arguments.codes, **found})


def measure(
    codes: Codes, targets: NDArray[np.int64], labels: int, share: float, draws: int
) -> dict[str, dict[str, float]]:
    """Means over draws, of each way."""
    figures: dict[str, list[tuple[float, float]]] = {}
    for seed in range(draws):
        random = np.random.default_rng(seed)
        count = round(share * len(targets))
        wrong = random.choice(len(targets), count, replace=False)
        given = targets.copy()
        given[wrong] = (given[wrong] + random.integers(1, labels, count)) % labels
        is_wrong = np.isin(np.arange(len(targets)), wrong)
        for name, doubt in doubts(codes, given, labels).items():
            first = np.argsort(-doubt, kind="stable")[:count]
            pair = float(is_wrong[first].mean()), float(average_precision_score(is_wrong, doubt))
            figures.setdefault(name, []).append(pair)
    means = {name: np.mean(pairs, axis=0).round(3).tolist() for name, pairs in figures.items()}
    return {
        name: {"precision": precision, "average": average}
        for name, (precision, average) in means.items()
    }


def doubts(codes: Codes, targets: NDArray[np.int64], labels: int) -> Doubts:
    """How doubtful each row's label is, by each way."""
    own = np.arange(len(targets))
    ours = find_suspects(codes, targets, labels)
    ways = {
        "ours": ours.suspicion,
        "neighbours": 1 - ours.agreeing / NEIGHBOURS,
        "heads": 1 - ours.probability,
    }
    for strength in (1.0, 0.003):
        model = LogisticRegression(C=strength, max_iter=300)
        found = cross_val_predict(model, unpack_signs(codes), targets, cv=5, method="predict_proba")
        ways[f"scikit-learn, C={strength:g}"] = (
            1 - found[own, np.searchsorted(np.unique(targets), targets)]
        )
    return ways


def search_times(count: int) -> dict[str, dict[str, float]]:
    """Milliseconds a query, of ten neighbours."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (count, WIDTH), dtype=np.uint8)
    ways: dict[str, Callable[..., Any]] = {"numpy": nearest_by_numpy, "as installed": nearest}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):
        for name, search in ways.items():
            started = time.perf_counter()
            search(codes[:16], codes, 10)
            times[name].append((time.perf_counter() - started) / 16 * 1e3)
    return {name: spread(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
