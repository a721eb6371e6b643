"""The training loop: many tasks in one run, one head each, the bits in the loop.

What a text is to the model (token ids, or a vector that was computed before) is the caller's: the
loop draws rows, adds up losses, validates, and survives a stop.

Source: Du et al. (2020), section 3.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from models.profiles import this_machine
from models.training.encoder.averages import Averages
from models.training.encoder.batches import by_length
from models.training.encoder.model import MultiTaskCode
from models.training.encoder.suite import tempered

NOTE_EVERY = 25
VALIDATED_AT_ONCE = 32
LAST_SHARPNESS = 10.0  # of the annealed estimator, from 1 on
STATE, LOG, BEST = "state.pt", "log.jsonl", "best"
# What teachers make of texts. Many tasks pull a backbone towards their own questions; a regression
# from the bits to these keeps readable what it knew before, which is what unseen tasks read.
Embeddings = NDArray[np.float16]
Collate = Callable[[Sequence[Any]], tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        steps: updates of the weights.
        texts: of one step, drawn from all tasks.
        at_once: of one pass; texts of a step are sorted by length, so that little is padding.
        rate: of learning, at its highest, for the backbone; heads learn `head_rate`.
        head_steps: in which the heads alone learn, before, on the untrained embeddings; see
            `heads_first`.
        warm_up: share of the steps in which the rate rises; it then falls in a cosine.
        exponent: see `suite.tempered`.
        float_share: of the task loss that is taken on the floats, the rest on the bits.
        keep: weight of the loss that keeps the untrained embeddings readable from the bits.
        average: share of the running average of all weights that a step leaves as it was; the
            average is what is validated and saved. 0: the weights themselves.
        max_tokens: longer texts are cut for training.
        train_rows, validation_rows: of a task, at most.
        check_every: steps between validations and checkpoints.
        patience: validations without a better one before it ends.
        seed: of every random choice.
    """

    steps: int = 1500
    texts: int = 96
    at_once: int = 16
    rate: float = 2e-4
    head_rate: float = 2e-3
    head_steps: int = 0
    warm_up: float = 0.06
    exponent: float = 0.5
    float_share: float = 0.3
    keep: float = 1.0
    average: float = 0.0
    max_tokens: int = 64
    train_rows: int = 8000
    validation_rows: int = 100
    check_every: int = 250
    patience: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """One task's rows for the model; `taught` is what teachers make of them."""

    name: str
    train: Sequence[Any] | NDArray[Any]
    targets: NDArray[np.int64]
    taught: Embeddings | None
    validation: Sequence[Any] | NDArray[Any]
    validation_targets: NDArray[np.int64]
    classes: int


class Trainer:
    """The loop, and what has to survive a stop.

    Args:
        model: what is trained; it has a head for every task.
        plan: of the training.
        tasks: what it is trained on.
        collate: rows to the tensors that the model takes.
        out: folder of the log, the state and the best weights.
        quiet: write the log, but do not print it.
    """

    def __init__(
        self,
        model: MultiTaskCode,
        plan: Plan,
        tasks: Sequence[TrainingTask],
        collate: Collate,
        out: Path,
        *,
        quiet: bool = False,
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.tasks, self.collate, self.out = plan, tasks, collate, out
        self.quiet = quiet
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # bf16 without instructions for it is slower than fp32.
        self.half = self.device.type == "cuda" or this_machine().bf16
        self.scale = _scale([task.taught for task in tasks if task.taught is not None])
        self.model = model.to(self.device)
        backbone: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                (backbone if name.startswith("backbone.") else others).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": parameters, "lr": rate}
                for parameters, rate in ((backbone, plan.rate), (others, plan.head_rate))
                if parameters
            ],
            weight_decay=0.01,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._share_of_rate)
        self.shares = tempered([len(task.train) for task in tasks], plan.exponent)
        self.averages = Averages(self.model, plan.average) if plan.average else None
        self.step, self.best, self.best_at = 0, 0.0, 0

    def run(self) -> None:
        """Train to the end, from the start or from the last checkpoint."""
        self._resume()
        self.model.train()
        started, losses = time.perf_counter(), []
        for rows in self._batches():
            losses.append(self._update(rows))
            self.step += 1
            if self.step % NOTE_EVERY == 0:
                speed = NOTE_EVERY * self.plan.texts / (time.perf_counter() - started)
                started = time.perf_counter()
                mean = torch.stack(losses).mean(dim=0).tolist()
                losses.clear()
                self._note(
                    {
                        "losses": [round(loss, 4) for loss in mean],
                        "texts_per_second": round(speed, 1),
                    }
                )
            if self.step % self.plan.check_every == 0 or self.step == self.plan.steps:
                self._check()
                started = time.perf_counter()
                if self.step - self.best_at >= self.plan.patience * self.plan.check_every:
                    self._note({"ended": "no better validation"})
                    return

    def _share_of_rate(self, step: int) -> float:
        warm_up = max(1, round(self.plan.steps * self.plan.warm_up))
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.plan.steps - warm_up)
        return float(0.5 * (1 + np.cos(np.pi * min(1.0, done))))

    def _batches(self) -> Iterator[list[tuple[int, int]]]:
        """(task, row) of every step that is left. A step's draw depends on its number alone."""
        while self.step < self.plan.steps:
            chance = np.random.default_rng((self.plan.seed, self.step))
            drawn = chance.choice(len(self.tasks), self.plan.texts, p=self.shares)
            rows = [(int(t), int(chance.integers(len(self.tasks[t].train)))) for t in drawn]
            yield sorted(rows, key=lambda row: len(self.tasks[row[0]].train[row[1]]))

    def _update(self, rows: list[tuple[int, int]]) -> Tensor:
        """One step: the mean losses on floats, on bits, and of what is kept, `(3,)`.

        They stay on the device: to read them at every step would wait for it.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.model.sharpness = LAST_SHARPNESS ** (self.step / max(1, self.plan.steps))
        sums = torch.zeros(3, device=self.device)
        for start in range(0, len(rows), self.plan.at_once):
            some = rows[start : start + self.plan.at_once]
            losses = self._losses(some)
            share = self.plan.float_share
            total = share * losses[0] + (1 - share) * losses[1] + self.plan.keep * losses[2]
            (total / len(rows)).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack(losses).detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        if self.averages is not None:
            self.averages.update()
        return sums / len(rows)

    def _losses(self, rows: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over rows: of the heads on floats and on bits, and of what is kept."""
        floats, bits = self._encode([self.tasks[t].train[row] for t, row in rows])
        bits = self.model.drop(bits)
        tasks = torch.tensor([t for t, _ in rows], device=self.device)
        targets = torch.tensor([int(self.tasks[t].targets[row]) for t, row in rows])
        targets = targets.to(self.device)
        on_floats = self.model.losses(floats, tasks, targets).sum()
        on_bits = self.model.losses(bits, tasks, targets).sum()
        kept = torch.zeros((), device=self.device)
        if self.model.to_teacher is not None:
            guess = self.model.to_teacher(bits * self.model.unit)
            kept = (guess - self._taught(rows)).square().mean(dim=1).sum()
        return on_floats, on_bits, kept

    def _taught(self, rows: Sequence[tuple[int, int]]) -> Tensor:
        """The untrained encoder's embeddings of rows, each dimension of unit variance."""
        assert self.scale is not None
        mean, deviation = self.scale
        raw = np.stack([cast(Embeddings, self.tasks[t].taught)[row] for t, row in rows])
        return torch.from_numpy((raw.astype(np.float32) - mean) / deviation).to(self.device)

    def _encode(self, rows: Sequence[Any]) -> tuple[Tensor, Tensor]:
        inputs = [tensor.to(self.device) for tensor in self.collate(rows)]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            floats, bits = self.model(*inputs)
        return floats.float(), bits.float()

    def _check(self) -> None:
        """Validate; keep the best weights; write what a later run goes on from."""
        with self.averages.put_in() if self.averages is not None else nullcontext():
            scores = self._validate()
            self._keep_if_best(scores)
        self._write_state()

    def _keep_if_best(self, scores: dict[str, float]) -> None:
        mean = float(np.mean(list(scores.values())))
        self._note({"validation": round(mean, 5), "tasks": scores})
        if mean > self.best:
            self.best, self.best_at = mean, self.step
            self._save_best()

    def _write_state(self) -> None:
        temporary = self.out / (STATE + ".new")
        torch.save(
            {
                "step": self.step,
                "best": self.best,
                "best_at": self.best_at,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "averages": None if self.averages is None else self.averages.state(),
            },
            temporary,
        )
        temporary.replace(self.out / STATE)

    @torch.inference_mode()
    def _validate(self) -> dict[str, float]:
        """Accuracy of the bits on each task's validation rows."""
        self.model.eval()
        scores = {}
        for task in self.tasks:
            right = 0
            for some in by_length(task.validation, VALIDATED_AT_ONCE):
                _, bits = self._encode([task.validation[i] for i in some])
                guess = self.model.logits(task.name, bits).argmax(dim=1).cpu().numpy()
                right += int((guess == task.validation_targets[some]).sum())
            scores[task.name] = round(right / len(task.validation), 4)
        self.model.train()
        return scores

    def _save_best(self) -> None:
        folder = self.out / BEST
        folder.mkdir(exist_ok=True)
        state = {
            name: value.contiguous()
            for name, value in self.model.plain_state().items()
            if not name.startswith(("heads.", "to_teacher.", "backbone.embeddings."))
        }
        save_file(state, folder / "encoder.safetensors")
        about = {"design": asdict(self.model.design), "plan": asdict(self.plan), "step": self.step}
        about["tasks"] = [task.name for task in self.tasks]
        (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")

    def _resume(self) -> None:
        path = self.out / STATE
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.averages is not None:
            self.averages.load(state["averages"])
        self.step, self.best, self.best_at = state["step"], state["best"], state["best_at"]
        self._note({"resumed": self.step})

    def _note(self, line: dict[str, Any]) -> None:
        text = json.dumps({"step": self.step, **line})
        if not self.quiet:
            print(text, flush=True)
        with (self.out / LOG).open("a") as file:
            file.write(text + "\n")


def _scale(taught: Sequence[Embeddings]) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Mean and deviation of each of the teacher's dimensions, all tasks counting alike."""
    if not taught:
        return None
    some = np.concatenate([one[:500].astype(np.float32) for one in taught])
    deviation = some.std(axis=0)
    # A dimension that hardly moves says nothing: it must not weigh like the others.
    return some.mean(axis=0), np.maximum(deviation, 0.01 * np.median(deviation) + 1e-6)
