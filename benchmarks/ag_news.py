"""The main job on real texts: encode once, answer many tasks, train a head.

    python -m benchmarks.ag_news --data DATA [--url http://127.0.0.1:8080]

DATA is a folder of tasks (TASK/{train,test}.jsonl.gz with meta.json). Against a running service:
1. 2,000 AG News test texts, one task: the first pass encodes the distinct ones, the second none;
2. the same texts and 2,000 fresh ones with 20 tasks: as many encoder passes as with one;
3. a head trained on 4,000 rows through the SDK, scored on the whole test set; trained again: no
   pass.
Starts the service by itself, on fresh data, when no --url is given.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from polyhead import Client

from benchmarks.machine import print_result
from benchmarks.service import free_port, start_service, wait_until_ready
from models.training.datasets import LabelledTexts, read_split

TEXTS = 2_000
TRAIN_ROWS = 4_000
TASKS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    if arguments.url:
        print_result("ag_news", run(arguments.url, arguments.data))
        return
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = start_service(port, Path(folder) / "data")
        try:
            wait_until_ready(port)
            print_result("ag_news", run(f"http://127.0.0.1:{port}", arguments.data))
        finally:
            process.terminate()
            process.wait()


def run(url: str, data: Path) -> dict[str, Any]:
    """All three parts; each figure comes from the service's own counter or answers."""
    test = read_split(data, "ag_news", "test")
    train = read_split(data, "ag_news", "train").head(TRAIN_ROWS)
    with Client(url, timeout=600) as client:
        result: dict[str, Any] = {"bits": client.info()["encoder"]["bits"]}
        result |= two_passes(client, url, test.texts[:TEXTS])
        result |= training(client, url, train, test)
        result |= many_tasks(client, url, train, test.texts)
    return result


def two_passes(client: Client, url: str, texts: list[str]) -> dict[str, Any]:
    """The same texts twice."""
    started = time.perf_counter()
    first = client.predict(texts, tasks=["sentiment"])
    between = time.perf_counter()
    second = client.predict(texts, tasks=["sentiment"])
    return {
        "texts": len(texts),
        "distinct": len(set(texts)),
        "first_encoded": first.usage.encoded,
        "first_s": round(between - started, 2),
        "second_encoded": second.usage.encoded,
        "second_s": round(time.perf_counter() - between, 3),
        "passes_counter": passes(url),
    }


def training(client: Client, url: str, train: LabelledTexts, test: LabelledTexts) -> dict[str, Any]:
    """Train twice, score on the standard test set."""
    examples = list(zip(train.texts, train.labels, strict=True))
    test_examples = list(zip(test.texts, test.labels, strict=True))
    started = time.perf_counter()
    job = client.tasks.train("news", examples, test_examples=test_examples, wait=True)
    first_s = time.perf_counter() - started
    before = passes(url)
    started = time.perf_counter()
    again = client.tasks.train("news", examples, test_examples=test_examples, wait=True)
    assert job.report is not None
    assert again.report is not None
    asked = client.predict(test.texts, tasks=["news"])
    right = sum(
        row.predictions["news"].label == label
        for row, label in zip(asked, test.labels, strict=True)
    )
    return {
        "train_rows": job.report.n_train,
        "test_rows": job.report.n_test,
        "test_accuracy": round(job.report.accuracy or 0, 4),
        "test_accuracy_by_predict": round(right / len(test.texts), 4),
        "majority_accuracy": round(job.report.majority_accuracy or 0, 4),
        "train_s": round(first_s, 1),
        "fit_s": job.report.seconds and job.report.seconds.fit,
        "again_passes": passes(url) - before,
        "again_s": round(time.perf_counter() - started, 1),
        "again_accuracy": round(again.report.accuracy or 0, 4),
    }


def many_tasks(client: Client, url: str, train: LabelledTexts, texts: list[str]) -> dict[str, Any]:
    """Fresh texts with one task, as many other fresh ones with twenty: passes of each."""
    small = list(zip(train.texts[:200], train.labels[:200], strict=True))
    names = [task.name for task in client.tasks.list()]
    for number in range(TASKS - len(names)):
        client.tasks.train(f"news-{number}", small, wait=True, seed=number)
    names = sorted(task.name for task in client.tasks.list())[:TASKS]
    fresh = [f"Breaking: {text}" for text in texts[:TEXTS]]
    others = [f"Update: {text}" for text in texts[:TEXTS]]
    counts = []
    for batch, tasks in ((fresh, names[:1]), (others, names)):
        before = passes(url)
        answer = client.predict(batch, tasks=tasks)
        assert all(len(row.predictions) == len(tasks) for row in answer)
        counts.append({"tasks": len(tasks), "passes": passes(url) - before})
    before = passes(url)
    client.predict(others, tasks=names)
    counts.append({"tasks": len(names), "cached": True, "passes": passes(url) - before})
    return {"passes_by_tasks": counts}


def passes(url: str) -> int:
    """`polyhead_encoder_passes_total` of /metrics."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        text = response.read().decode()
    match = re.search(r"^polyhead_encoder_passes_total (\S+)$", text, re.MULTILINE)
    assert match
    return int(float(match.group(1)))


if __name__ == "__main__":
    main()
