"""The accuracy gate: what each numeric profile of an encoder costs, measured over many tasks.

    python -m models.training.gate --data DATA --encoder models/artifacts/minilm-l6-multitask

For every profile that runs here: texts a second, the share of bits that agree with fp32, the
mean test accuracy of heads trained on the profile's own codes (what a user gets), and of the heads
trained on fp32 codes (what a head loses that moves between profiles). Writes `gate.json` beside the
manifest, which `POLYHEAD_BACKEND=auto` reads: a profile whose own mean accuracy is more than 0.3
points under fp32 is not chosen.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bulk import encode_texts
from models.codes import Codes, hamming
from models.encoder import Encoder
from models.head_runtime import Head, HeadStack
from models.loading import load_profile, offers_of
from models.profiles import Offer, Profile, choose_profile, runnable_profiles, this_machine
from models.source import GATE, open_source
from models.training.encoder.suite import TaskData, load_task
from models.training.heads import train_head

REFERENCE = Profile("openvino", "cpu", "fp32")
# Of every kind, none too small to tell half a point; sst2 stands for sst5, trec6 for trec50.
TASKS = (
    "ag_news",
    "banking77",
    "clickbait",
    "csabstruct",
    "davidson_hate",
    "goemotions",
    "sst2",
    "stackoverflow_sentiment",
    "subj",
    "trec6",
    "tweeteval_emotion",
    "tweeteval_offensive",
    "ade",
    "covid_fake_news",
)


@dataclass(slots=True)
class Tally:
    """What one profile did, task by task."""

    seconds: float = 0.0
    texts: int = 0
    flipped: float = 0.0
    bits: int = 0
    own: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--train-rows", type=int, default=4000)
    parser.add_argument("--test-rows", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profiles", default="", help="only these, by name; empty for all here")
    arguments = parser.parse_args()
    wanted = set(filter(None, arguments.profiles.split(",")))
    encoders = profiles_here(str(arguments.encoder), arguments.threads, wanted)
    tallies = {name: Tally() for name in encoders}
    for task in TASKS:
        data = load_task(
            arguments.data, task, {"train": arguments.train_rows, "test": arguments.test_rows}
        )
        measure_task(encoders, data, tallies)
        row = {name: round(tally.own[-1], 4) for name, tally in tallies.items()}
        print(json.dumps({"task": task, **row}), flush=True)
    profiles = summary(tallies)
    result = {
        "tasks": list(TASKS),
        "train_rows": arguments.train_rows,
        "test_rows": arguments.test_rows,
        "reference": REFERENCE.name,
        "profiles": profiles,
    }
    (arguments.encoder / GATE).write_text(json.dumps(result, indent=1) + "\n")
    offers = {name: Offer(row["accuracy_change"]) for name, row in profiles.items()}
    print(table(profiles, choose_profile(this_machine(), offers).name))


def profiles_here(source: str, threads: int, wanted: set[str]) -> dict[str, Encoder]:
    """The profiles of the encoder that run on this machine, the reference first."""
    opened = open_source(source)
    here = runnable_profiles(this_machine(), offers_of(opened))
    others = [p for p in here if p != REFERENCE and (p.name in wanted or not wanted)]
    loaded = {p.name: load_profile(opened, p, threads) for p in (REFERENCE, *others)}
    for encoder in loaded.values():
        encoder.warm_up()
    return loaded


def measure_task(encoders: dict[str, Encoder], data: TaskData, tallies: dict[str, Tally]) -> None:
    """All profiles in turn on one task: their speeds compare, whatever else the machine does."""
    train, test = data.splits["train"], data.splits["test"]
    reference: tuple[Codes, Head] | None = None
    for name, encoder in encoders.items():
        tally = tallies[name]
        started = time.perf_counter()
        codes = encode_texts(encoder, train.texts + test.texts)
        tally.seconds += time.perf_counter() - started
        tally.texts += len(codes)
        train_codes, test_codes = codes[: len(train.texts)], codes[len(train.texts) :]
        head = train_head(
            train_codes,
            train.targets,
            kind="single_label",
            outputs=len(data.labels),
            head="linear",
            class_weight=None,
            seed=0,
        ).head
        reference = reference or (codes, head)
        tally.flipped += float(hamming(codes, reference[0]).sum())
        tally.bits += codes.size * 8
        tally.own.append(accuracy(head, test_codes, test.targets))
        tally.moved.append(accuracy(reference[1], test_codes, test.targets))


def accuracy(head: Head, codes: Codes, targets: NDArray[np.int64]) -> float:
    """Share of right answers."""
    scores = HeadStack([head], ["single_label"]).scores(codes)
    return float((scores.argmax(axis=1) == targets).mean())


def summary(tallies: dict[str, Tally]) -> dict[str, dict[str, float]]:
    """Figures by profile. `accuracy_change` is against the reference, heads on their own codes."""
    reference = float(np.mean(tallies[REFERENCE.name].own))
    return {
        name: {
            "texts_per_second": round(tally.texts / tally.seconds, 1),
            "bit_agreement": round(1 - tally.flipped / tally.bits, 5),
            "mean_accuracy": round(float(np.mean(tally.own)), 5),
            "accuracy_change": round(float(np.mean(tally.own)) - reference, 5),
            "moved_accuracy_change": round(float(np.mean(tally.moved)) - reference, 5),
        }
        for name, tally in tallies.items()
    }


def table(profiles: dict[str, dict[str, float]], chosen: str) -> str:
    """The figures as Markdown."""
    lines = [
        "| profile | texts/s | bits as fp32 | mean accuracy | change | with fp32's heads | auto |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, row in profiles.items():
        passes = Offer(row["accuracy_change"]).passes
        verdict = "chosen" if name == chosen else "passes" if passes else "barred"
        lines.append(
            f"| {name} | {row['texts_per_second']:.0f} | {row['bit_agreement']:.4f} "
            f"| {row['mean_accuracy'] * 100:.2f} | {row['accuracy_change'] * 100:+.2f} "
            f"| {row['moved_accuracy_change'] * 100:+.2f} | {verdict} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
