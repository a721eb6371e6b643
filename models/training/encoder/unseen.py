"""How much frozen representations tell about tasks that their encoder never saw.

    python -m models.training.encoder.unseen --data DATA --fold 0 --cache FOLDER \
        --out result.json [--trained RUN/best ...]

One logistic regression a task, on the same rows for every representation: majority, TF-IDF,
floats and bits of the untrained backbone, floats and bits of each trained encoder. Its strength is
chosen on validation rows. Also from few examples a class, over several draws.

Source: Du et al. (2020), section 4.2: heads on frozen codes of tasks outside the training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.artifact import resolve_backbone
from models.profiles import this_machine
from models.tokenization import TextTokenizer
from models.tokens import pad_rows
from models.training.encoder.model import Design, MultiTaskEncoder
from models.training.encoder.suite import TaskData, choose_shots, load_task, split_fold
from models.training.encoder.train import BACKBONE

MAX_TOKENS = 128
BATCH = 32
CALIBRATION_ROWS = 100
STRENGTHS = {
    "bits": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "floats": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "tfidf": (0.3, 1.0, 3.0, 10.0, 30.0),
}
FROZEN = "frozen"
Floats = NDArray[np.float32]
Features: TypeAlias = Floats | csr_matrix


@dataclass(frozen=True, slots=True)
class Splits:
    """The rows of one task in one representation."""

    train: Features
    validation: Features
    test: Features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--trained", type=Path, nargs="*", default=[])
    parser.add_argument("--blend", type=float, nargs="*", default=[], help="see `blended`")
    parser.add_argument("--tasks", nargs="*", help="only these of the fold")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-rows", type=int, default=1500)
    parser.add_argument("--validation-rows", type=int, default=300)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--shots", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    rows: Any = {
        "train": arguments.train_rows,
        "validation": arguments.validation_rows,
        "test": arguments.test_rows,
    }
    seen, unseen = split_fold(arguments.fold)
    calibration = [
        text
        for name in seen
        for text in load_task(arguments.data, name, {"train": CALIBRATION_ROWS})
        .splits["train"]
        .texts
    ]
    encoders = {FROZEN: untrained()}
    for path in arguments.trained:
        encoders[path.parent.name] = trained(path)
        for share in arguments.blend:
            encoders[f"{path.parent.name} x {share}"] = blended(trained(path), share)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in arguments.tasks or unseen:
        task = load_task(arguments.data, name, rows)
        results[name] = measure(task, encoders, calibration, arguments)
        print(name, json.dumps(results[name]["all"]), flush=True)
    means = {
        rows: {
            kind: round(float(np.mean([by[rows][kind] for by in results.values()])), 2)
            for kind in next(iter(results.values()))[rows]
        }
        for rows in next(iter(results.values()))
    }
    arguments.out.write_text(json.dumps({"means": means, "tasks": results}, indent=1) + "\n")
    print(json.dumps(means))


def untrained() -> MultiTaskEncoder:
    """The backbone as it comes, its last four layers."""
    return MultiTaskEncoder(Design(resolve_backbone(BACKBONE)), {}).eval()


def trained(folder: Path) -> MultiTaskEncoder:
    """The best weights of a training run."""
    about = json.loads((folder / "about.json").read_text())
    design = Design(**{**about["design"], "layers": tuple(about["design"]["layers"])})
    model = MultiTaskEncoder(design, {})
    missing, unexpected = model.load_state_dict(
        load_file(folder / "encoder.safetensors"), strict=False
    )
    if unexpected or any(not name.startswith("backbone.embeddings.") for name in missing):
        raise ValueError(f"{folder} does not fit its design: {unexpected or missing}")
    return model.eval()


def blended(model: MultiTaskEncoder, share: float) -> MultiTaskEncoder:
    """The weights part of the way from the untrained backbone to the trained one.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (2022): what lies between is
    often better than either on what was not trained on.
    """
    start = untrained().state_dict()
    mixed = {
        name: torch.lerp(start[name], value, share) if name.startswith("backbone.") else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(mixed)
    return model


@torch.inference_mode()
def embed(model: MultiTaskEncoder, texts: Sequence[str]) -> Floats:
    """`(n, width)` raw embeddings."""
    tokenizer = TextTokenizer(Path(model.design.backbone) / "tokenizer.json", MAX_TOKENS)
    rows = [one.windows[0] for one in tokenizer(texts)]
    result = np.zeros((len(rows), model.width), dtype=np.float32)
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        ids, mask = pad_rows([rows[i] for i in some], max(len(rows[i]) for i in some), 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=this_machine().bf16):
            pooled = model.pooled(torch.from_numpy(ids), torch.from_numpy(mask))
        result[some] = model.project(pooled.float()).numpy()
    return result


def cached(folder: Path, key: Sequence[str], make: Callable[[], Floats]) -> Floats:
    """What `make` gives, kept in a file named by the key's digest."""
    path = folder / (hashlib.sha256("\0".join(key).encode()).hexdigest()[:32] + ".npy")
    if not path.is_file():
        np.save(path, make())
    return np.asarray(np.load(path), dtype=np.float32)


def measure(
    task: TaskData,
    encoders: dict[str, MultiTaskEncoder],
    calibration: Sequence[str],
    arguments: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    """Test accuracy in percent, by number of rows and representation."""
    forms: dict[str, Splits] = {"tfidf": of_words(task)}
    for name, model in encoders.items():
        digest = weights_digest(model)

        def of(texts: Sequence[str], model: Any = model, digest: str = digest) -> Floats:
            return cached(arguments.cache, [digest, *texts], lambda: embed(model, texts))

        thresholds = np.median(of(calibration), axis=0)
        parts = [
            of(task.splits[split].texts) - thresholds for split in ("train", "validation", "test")
        ]
        if name == FROZEN:
            last = [part[:, -384:] for part in parts]
            forms["frozen floats"] = standardized(last)
            forms["frozen signs"] = Splits(*(signs(part + thresholds[-384:]) for part in last))
            forms["frozen four layers, floats"] = standardized(parts)
            forms["frozen four layers, bits"] = Splits(*map(signs, parts))
        else:
            forms[f"{name} floats"] = standardized(parts)
            forms[f"{name} bits"] = Splits(*map(signs, parts))
    targets = {split: rows.targets for split, rows in task.splits.items()}
    everything = np.arange(len(targets["train"]))
    results = {
        "all": {"majority": majority(targets["train"], targets["test"])}
        | {name: accuracy(name, form, targets, everything) for name, form in forms.items()}
    }
    for shots in arguments.shots:
        draws = [
            choose_shots(targets["train"], shots, np.random.default_rng(seed))
            for seed in range(arguments.draws)
        ]
        results[str(shots)] = {
            name: round(float(np.mean([accuracy(name, form, targets, d) for d in draws])), 3)
            for name, form in forms.items()
        }
    return results


def accuracy(name: str, form: Splits, targets: dict[Any, Any], rows: NDArray[np.int64]) -> float:
    """Of the regression whose strength does best on validation rows (as few, with few shots)."""
    kind = "tfidf" if name == "tfidf" else name.rsplit(" ", 1)[-1].replace("signs", "bits")
    # Who has few examples to train on has no more of them to choose by.
    held = np.arange(min(len(targets["validation"]), len(rows)))
    best: tuple[float, LogisticRegression] | None = None
    for strength in STRENGTHS[kind]:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(form.train[rows], targets["train"][rows])
        score = float(model.score(form.validation[held], targets["validation"][held]))
        if best is None or score > best[0]:
            best = score, model
    assert best is not None
    return round(float(best[1].score(form.test, targets["test"])) * 100, 3)


def majority(train: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Of always giving the training rows' most frequent class."""
    return round(float((test == np.bincount(train).argmax()).mean()) * 100, 3)


def of_words(task: TaskData) -> Splits:
    """TF-IDF of words and pairs of words."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectorizer.fit(task.splits["train"].texts)
    parts = (
        vectorizer.transform(task.splits[split].texts) for split in ("train", "validation", "test")
    )
    return Splits(*parts)


def standardized(parts: Sequence[Floats]) -> Splits:
    """Each dimension of unit variance over the training rows."""
    mean, deviation = parts[0].mean(axis=0), parts[0].std(axis=0) + 1e-6
    return Splits(*((part - mean) / deviation for part in parts))


def signs(values: Floats) -> Floats:
    """±1, as heads read codes."""
    return np.where(values > 0, 1.0, -1.0).astype(np.float32)


def weights_digest(model: MultiTaskEncoder) -> str:
    """What tells one encoder's embeddings from another's."""
    digest = hashlib.sha256(f"{MAX_TOKENS} {model.design}".encode())
    for value in model.state_dict().values():
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
