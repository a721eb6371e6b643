"""Train the heads that the service ships with, one per task of `READY`.

    python -m models.training.ready_heads --data DATA \
        --encoder models/artifacts/minilm-l6-multitask --out models/artifacts/heads

Each head is trained on the codes of the profile that is served by default, and measured on the
standard test set in every profile that runs here: codes of another profile differ in a few bits.

With `--references` the heads stay as they are; only what live traffic is compared with is written
beside them, from the rows that they were trained on.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bulk import encode_texts
from models.codes import Codes
from models.encoder import Encoder
from models.head_artifact import WEIGHTS, HeadManifest, load_head, save_head
from models.head_runtime import Head, HeadStack
from models.identity import digest_thresholds, fingerprint_of
from models.loading import load_profile, offers_of
from models.packing import buckets_up_to
from models.profiles import Profile, choose_profile, runnable_profiles, this_machine
from models.reference import reference_of_rows, save_reference
from models.source import Source, backbone_digest, open_source, thresholds_in
from models.training.datasets import LabelledTexts, read_meta, read_split
from models.training.job import TrainingData, TrainingOptions, fit_and_evaluate
from models.training.report import evaluate

# By which a head may do worse on its training rows than on its test rows: where their labels are
# noisier, as sentence_role's are (0.61 and 0.66).
SLACK = 0.1
MAX_TRAIN_ROWS = 12_000
# Where there is no card: the bits of one number format on the CPU and on CUDA nearly all agree.
CUDA_PROFILES = (Profile("torch", "cuda", "bf16"), Profile("torch", "cuda", "fp32"))


@dataclass(frozen=True, slots=True)
class ReadyTask:
    """A shipped head: its name in the service, its data, and what it is for."""

    name: str
    data: str
    use: str


READY = (
    ReadyTask("abuse", "davidson_hate", "Hate speech or offensive language in short posts."),
    ReadyTask("assistant_intent", "clinc150", "What a user of a voice assistant asks for."),
    ReadyTask("banking_intent", "banking77", "What a bank's customer asks for."),
    ReadyTask("clickbait", "clickbait", "Clickbait headlines against ordinary ones."),
    ReadyTask("emotion", "goemotions", "Emotion of a comment, 27 emotions and neutral."),
    ReadyTask("humour", "humour_short_texts", "Short jokes against plain short texts."),
    ReadyTask("sentence_role", "csabstruct", "Role of a sentence in a scientific abstract."),
    ReadyTask("sentiment", "stackoverflow_sentiment", "Sentiment of software developers' posts."),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--references", action="store_true")
    arguments = parser.parse_args()
    source = open_source(str(arguments.encoder))
    if arguments.references:
        add_references(source, arguments.data, arguments.out, arguments.threads)
        return
    encoders = load_all(source, arguments.threads)
    print(", ".join(encoder.info.profile for encoder in encoders), flush=True)
    for task in READY:
        started = time.perf_counter()
        figures = build(task, arguments.data, source, encoders, arguments.out)
        print(f"{task.name:18} {figures} {time.perf_counter() - started:.0f} s", flush=True)


def add_references(source: Source, data: Path, out: Path, threads: int) -> None:
    """Write a reference beside each stored head. Encodes the training rows, and nothing else."""
    profile = choose_profile(this_machine(), offers_of(source))
    encoder = load_profile(source, profile, threads)
    for task in READY:
        started = time.perf_counter()
        manifest, head = load_head(out / task.name)
        rows = read_split(data, task.data, "train").head(MAX_TRAIN_ROWS)
        check_same_rows(task, manifest, rows, encoder.info.fingerprint)
        codes = encode_texts(encoder, rows.texts)
        accuracy = training_accuracy(head, codes, targets_of(rows, list(manifest.labels)))
        tested = (manifest.report or {})["accuracy"]
        if accuracy < tested - SLACK:
            raise ValueError(f"{task.name}: {accuracy:.4f} on these rows, {tested:.4f} on others")
        reference = reference_of_rows(codes, head, manifest.kind, len(manifest.labels))
        if reference is not None:
            save_reference(out / task.name, reference)
        print(f"{task.name:18} {accuracy:.4f} {time.perf_counter() - started:.0f} s", flush=True)


def check_same_rows(
    task: ReadyTask, manifest: HeadManifest, rows: LabelledTexts, fingerprint: str
) -> None:
    """Check that a stored head can be one of these rows' codes.

    Raises:
        ValueError: it is of other rows, or of another encoder's codes.
    """
    trained_on = (manifest.report or {}).get("n_train")
    if trained_on != len(rows.texts) or not set(rows.labels) <= set(manifest.labels):
        raise ValueError(f"{task.name}: {len(rows.texts)} rows, trained on {trained_on}, or others")
    first = next(iter(manifest.encoders))
    if first != fingerprint:
        raise ValueError(f"{task.name}: trained on codes of {first}, not of {fingerprint}")


def training_accuracy(head: Head, codes: Codes, targets: NDArray[np.int64]) -> float:
    """The share of rows that a head answers right: of its own more than of others."""
    best, _ = HeadStack([head], ["single_label"]).best(codes)
    return float((best[:, 0] == targets).mean())


def load_all(source: Source, threads: int) -> list[Encoder]:
    """The encoder in every profile that runs here, the one served by default first."""
    machine, offers = this_machine(), offers_of(source)
    default = choose_profile(machine, offers)
    others = [p for p in runnable_profiles(machine, offers) if p != default]
    return [load_profile(source, profile, threads) for profile in (default, *others)]


def build(
    task: ReadyTask, data: Path, source: Source, encoders: list[Encoder], out: Path
) -> dict[str, float]:
    """Train, measure and write one head; returns test accuracy by profile."""
    meta = read_meta(data, task.data)
    labels: list[str] = meta["label_names"]
    train = read_split(data, task.data, "train").head(MAX_TRAIN_ROWS)
    test = read_split(data, task.data, "test")
    train_targets, test_targets = targets_of(train, labels), targets_of(test, labels)
    rows = TrainingData(
        kind="single_label",
        labels=labels,
        codes=encode_texts(encoders[0], train.texts),
        targets=train_targets,
        test_codes=encode_texts(encoders[0], test.texts),
        test_targets=test_targets,
    )
    trained = fit_and_evaluate(rows, TrainingOptions())
    head, report = trained.head, trained.report
    del report["fit_seconds"]  # of this machine, not of the head
    stack = HeadStack([head], ["single_label"])

    def measure(encoder: Encoder) -> dict[str, Any]:
        scores = stack.scores(encode_texts(encoder, test.texts))
        return evaluate(scores, test_targets, train_targets, kind="single_label", labels=labels)

    reports = {encoders[0]: report} | {encoder: measure(encoder) for encoder in encoders[1:]}
    measured = {
        encoder.info.fingerprint: {
            "profile": encoder.info.profile,
            "test_accuracy": round(report["accuracy"], 4),
            "test_macro_f1": round(report["macro_f1"], 4),
        }
        for encoder, report in reports.items()
    }
    for profile in CUDA_PROFILES:
        fingerprint = cuda_fingerprint(source, profile)
        measured.setdefault(fingerprint, {"profile": profile.name, "test_accuracy": None})
    card = {
        "use": task.use,
        "data": meta["description"],
        "source": meta["source_repo"],
        "licence": meta["license"],
        "split": meta["split_note"],
    }
    head_manifest = HeadManifest(
        kind="single_label",
        head=trained.kind,
        labels=tuple(labels),
        bits=encoders[0].info.bits,
        encoders=measured,
        created_at=float(int(time.time())),
        report=report,
        card=card,
    )
    folder = out / task.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_head(folder, head_manifest, head, half=True)
    if trained.reference is not None:
        save_reference(folder, trained.reference)
    size = (folder / WEIGHTS).stat().st_size
    (folder / "CARD.md").write_text(card_text(task.name, head_manifest, size))
    return {encoder.info.profile: round(r["accuracy"], 4) for encoder, r in reports.items()}


def cuda_fingerprint(source: Source, profile: Profile) -> str:
    """What the encoder's fingerprint will be on a card; its device has no part in it."""
    thresholds = thresholds_in(source.folder)
    backbone = backbone_digest(source)
    if thresholds is None or backbone is None:
        raise ValueError("the artifact lacks thresholds, or its backbone's files are not here")
    limit = source.manifest.max_tokens
    return fingerprint_of(
        source.manifest,
        profile.name,
        backbone,
        digest_thresholds(thresholds.tolist()),
        buckets=buckets_up_to(limit, limit),
    )


def targets_of(rows: LabelledTexts, labels: list[str]) -> NDArray[np.int64]:
    """Label names as class indexes."""
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[label] for label in rows.labels])


def card_text(name: str, manifest: HeadManifest, size: int) -> str:
    """The card that lies beside the weights."""
    card, report = manifest.card or {}, manifest.report or {}
    rows = "\n".join(
        f"| {value['profile']} | {value['test_accuracy']:.4f} | {value['test_macro_f1']:.4f} |"
        if value["test_accuracy"] is not None
        else f"| {value['profile']} | not measured | not measured |"
        for value in manifest.encoders.values()
    )
    return f"""# {name}

{card["use"]}

- Data: {card["data"]}. Source: {card["source"]}.
- Licence as stated at the source: {card["licence"]}. Texts are not shipped, only weights.
- Trained on {report["n_train"]:,} rows, tested on {report["n_test"]:,} (the data's own test part).
- {len(manifest.labels)} labels, {manifest.bits}-bit codes, {size:,} bytes of weights.
- Majority baseline on the test: {report["majority_accuracy"]:.4f}.
- Split: {card["split"]}

| encoder profile | test accuracy | macro F1 |
| --- | ---: | ---: |
{rows}

Heads learn what their data holds, its labellers' habits and its biases included. Measure on texts
of your own before you act on an answer.
"""


if __name__ == "__main__":
    main()
