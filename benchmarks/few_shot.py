"""Few examples a label: heads on codes beside logistic regression on floats, and SetFit.

    python -m benchmarks.few_shot --data DATA [--encoder ARTIFACT] [--setfit PYTHON]

DATA is a folder of tasks (TASK/{train,test}.jsonl.gz with meta.json). Each seed draws other
examples, the same for every method. Ours: the head that the service trains (`auto`), the same
without the names of the labels, `prototype` and `linear`, on codes. Theirs: scikit-learn's logistic
regression on all-MiniLM-L6-v2's floats, its strength cross-validated; and SetFit on the same
MiniLM, by the Python of an environment of its own (`pip install torch==2.13.0 setfit==1.2.0`), on a
subset of shots and seeds: it trains the whole encoder, minutes where a head takes a tenth of a
second.

Tasks that an encoder was trained on say nothing here: name others with --tasks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from threadpoolctl import threadpool_limits

from app.settings import DEFAULT_ENCODER
from benchmarks.labelled import TASKS, Rows, drawn, drawn_by_label, first_by_label, labels_of
from benchmarks.machine import print_result
from benchmarks.peers import sentence_transformers
from models.bulk import encode_texts
from models.codes import Codes
from models.head_runtime import HeadChoice, HeadStack
from models.loading import load_encoder
from models.training.heads import train_head
from models.training.label_names import texts_of_names

UNNAMED = "auto, names of labels not read"
OURS: dict[str, HeadChoice] = {
    "auto": "auto",
    UNNAMED: "auto",
    "prototype": "prototype",
    "linear": "linear",
}
FLOATS = "logistic regression on floats"
SETFIT = "SetFit"
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
# Accuracies and seconds by method and shots, one a task and seed.
Found = dict[tuple[str, int], list[dict[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default=str(DEFAULT_ENCODER))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--shots", nargs="+", type=int, default=[4, 8, 16, 32])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test-rows", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--setfit", help="Python of an environment with setfit")
    parser.add_argument("--setfit-shots", nargs="+", type=int, default=[8])
    parser.add_argument("--setfit-seeds", type=int, default=1)
    parser.add_argument("--setfit-steps", type=int, default=400, help="of training at most")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.encoder, device="cpu", threads=arguments.threads)
    embed = sentence_transformers(arguments.threads)
    found: Found = defaultdict(list)
    for task in arguments.tasks:
        test = drawn(arguments.data, task, "test", arguments.test_rows)
        test_codes, test_floats = encode_texts(encoder, test.texts), embed(test.texts)
        texts = texts_of_names(labels_of(arguments.data, task), "single_label", 0)
        names = encode_texts(encoder, texts)
        for seed in range(arguments.seeds):
            pool = drawn_by_label(arguments.data, task, "train", max(arguments.shots), seed)
            codes, floats = encode_texts(encoder, pool.texts), embed(pool.texts)
            for shots in arguments.shots:
                places = first_by_label(pool, shots)
                train = pool.take(places)
                where = {"task": task, "seed": seed}
                for head in OURS:
                    with threadpool_limits(arguments.threads):
                        figures = ours(head, codes[places], train, test_codes, test, names)
                    found[head, shots].append(where | figures)
                figures = logistic(floats[places], train, test_floats, test, shots)
                found[FLOATS, shots].append(where | figures)
                if (
                    arguments.setfit
                    and shots in arguments.setfit_shots
                    and seed < arguments.setfit_seeds
                ):
                    figures = setfit(arguments.setfit, train, test, arguments)
                    found[SETFIT, shots].append(where | figures)
                    print(f"{task}, {shots} a label, draw {seed}: SetFit {figures}", flush=True)
        print(task, line_of(found, task), flush=True)
    print(table(found))
    print_result("few_shot", {"encoder": encoder.info.profile, **summary(found)})


def ours(
    method: str, codes: Codes, train: Rows, test_codes: Codes, test: Rows, names: Codes
) -> dict[str, Any]:
    """A head as the service trains it."""
    started = time.perf_counter()
    trained = train_head(
        codes,
        train.targets,
        kind="single_label",
        outputs=len(names),
        head=OURS[method],
        names=None if method == UNNAMED else names,
    )
    seconds = time.perf_counter() - started
    scores = HeadStack([trained.head], ["single_label"]).scores(test_codes)
    return {"accuracy": accuracy(scores.argmax(axis=1), test), "seconds": seconds}


def logistic(
    floats: NDArray[np.float32],
    train: Rows,
    test_floats: NDArray[np.float32],
    test: Rows,
    shots: int,
) -> dict[str, Any]:
    """scikit-learn's own on the floats."""
    started = time.perf_counter()
    fewest = int(np.unique(train.targets, return_counts=True)[1].min())
    model: Any = LogisticRegression(max_iter=1_000)
    if fewest > 1:
        model = LogisticRegressionCV(
            Cs=STRENGTHS,
            cv=min(5, fewest),
            max_iter=1_000,
            l1_ratios=(0,),
            scoring="accuracy",
            use_legacy_attributes=False,
        )
    model.fit(floats, train.targets)
    seconds = time.perf_counter() - started
    return {"accuracy": accuracy(model.predict(test_floats), test), "seconds": seconds}


def setfit(python: str, train: Rows, test: Rows, arguments: Any) -> dict[str, Any]:
    """SetFit in a process of its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        order = {
            "train": {"texts": train.texts, "targets": train.targets.tolist()},
            "test": {"texts": test.texts},
            "threads": arguments.threads,
            "most_steps": arguments.setfit_steps,
        }
        path = Path(folder) / "order.json"
        path.write_text(json.dumps(order))
        script = Path(__file__).with_name("setfit_peer.py")
        run = subprocess.run(
            [python, str(script), str(path)], capture_output=True, text=True, cwd=folder
        )
        if run.returncode:
            raise RuntimeError(f"SetFit failed:\n{run.stderr[-3000:]}")
        answer = json.loads(run.stdout.splitlines()[-1])
    return {
        "accuracy": accuracy(np.array(answer["predicted"]), test),
        "seconds": answer["seconds"],
        "steps": answer["steps"],
    }


def accuracy(predicted: NDArray[Any], rows: Rows) -> float:
    """Share of right answers."""
    return float(np.mean(predicted == rows.targets))


def summary(found: Found) -> dict[str, Any]:
    """Mean accuracy and seconds by method and shots, and each task's mean."""
    return {
        f"{method}, {shots}": {
            "accuracy": round(mean(runs, "accuracy"), 4),
            "seconds": round(mean(runs, "seconds"), 3),
            "tasks": {
                task: round(mean([run for run in runs if run["task"] == task], "accuracy"), 4)
                for task in dict.fromkeys(run["task"] for run in runs)
            },
        }
        for (method, shots), runs in found.items()
    }


def mean(runs: list[dict[str, Any]], name: str) -> float:
    """Over tasks, of the mean over a task's seeds."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        by_task[run["task"]].append(run[name])
    return float(np.mean([np.mean(values) for values in by_task.values()]))


def line_of(found: Found, task: str) -> str:
    """A task's figures, to watch it go."""
    parts = []
    for (method, shots), runs in found.items():
        mine = [run for run in runs if run["task"] == task]
        if mine:
            parts.append(f"{method}, {shots}: {mean(mine, 'accuracy'):.3f}")
    return "; ".join(parts)


def table(found: Found) -> str:
    """Mean accuracies in percent as Markdown, with the seconds of a training."""
    methods = list(dict.fromkeys(method for method, _ in found))
    shots = sorted({count for _, count in found})
    lines = [
        "| method | " + " | ".join(f"{count} a label" for count in shots) + " |",
        "| --- |" + " ---: |" * len(shots),
    ]
    for method in methods:
        cells = [
            f"{100 * mean(found[method, count], 'accuracy'):.1f} "
            f"({mean(found[method, count], 'seconds'):.2f} s)"
            if (method, count) in found
            else ""
            for count in shots
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
