"""Fit one small network to one task's rows: the loop that fine-tuning and distillation share."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.profiles import this_machine
from models.tokens import Ids, pad_rows
from models.training.encoder.batches import by_length

POOL = 16  # steps whose rows are sorted by length together
Rows = NDArray[np.int64]
# Outputs of some rows, and which rows these are, to the sum of their losses.
Loss = Callable[[Tensor, Rows], Tensor]


@dataclass(frozen=True, slots=True)
class FitPlan:
    """How to fit.

    Attributes:
        epochs: passes over the rows.
        least_steps: more epochs where they would come to fewer steps than this. Few rows want more
            epochs: Mosbach et al., "On the Stability of Fine-tuning BERT" (2021).
        texts: of one step.
        at_once: of one pass; neighbours in length, so that little is padding.
        rate: of learning, at its highest, for the backbone; everything else learns `head_rate`.
        warm_up: share of the steps in which the rates rise; they then fall to zero in a line.
        weight_decay: of matrices; biases, norms and lookup tables have none.
        patience: epochs without a better validation before it ends.
        seed: of every random choice.
    """

    epochs: int = 3
    least_steps: int = 300
    texts: int = 32
    at_once: int = 16
    rate: float = 3e-4
    head_rate: float = 2e-3
    warm_up: float = 0.1
    weight_decay: float = 0.01
    patience: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """How a fit went.

    Attributes:
        rate: that it was fitted with.
        score: of the best validation; 0 without one.
        best_epoch: where that was; 0 without one.
        epochs: that were run.
        seconds: that they took, validations included.
    """

    rate: float
    score: float
    best_epoch: int
    epochs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where it runs, and whether products are in bf16 (without instructions for it, it is slow)."""

    device: torch.device
    bf16: bool


def this_hardware() -> Hardware:
    """A card where there is one, else the CPU."""
    if torch.cuda.is_available():
        return Hardware(torch.device("cuda"), torch.cuda.is_bf16_supported())
    return Hardware(torch.device("cpu"), this_machine().bf16)


def fit(
    network: nn.Module,
    rows: Sequence[Ids],
    loss: Loss,
    plan: FitPlan,
    score: Callable[[], float] | None = None,
) -> Fit:
    """Fit a network in place; it ends with the weights of the best validation.

    Args:
        network: from ids and mask, `(b, s)` each, to `(b, outputs)`; has a `backbone`.
        rows: token ids of the training texts.
        loss: see `Loss`.
        plan: see `FitPlan`.
        score: validates the network as it is, higher is better; None keeps the last weights.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("there are no rows to fit to")
    hardware, started = this_hardware(), time.perf_counter()
    network.to(hardware.device).train()
    lengths = np.array([len(row) for row in rows])
    epochs = epochs_for(len(rows), plan)
    optimizer = _optimizer(network, plan)
    steps = epochs * -(-len(rows) // plan.texts)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: share_of_rate(step, steps, plan.warm_up)
    )
    chance = np.random.default_rng(plan.seed)
    best, best_epoch, kept = -1.0, 0, None
    epoch = 0
    for epoch in range(1, epochs + 1):
        for batch in batches_by_length(lengths, plan.texts, plan.at_once, chance):
            optimizer.zero_grad(set_to_none=True)
            count = sum(map(len, batch))
            for some in batch:
                outputs = run(network, [rows[row] for row in some], hardware)
                (loss(outputs, some) / count).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if score is not None:
            found = score()
            network.train()
            if found > best:
                best, best_epoch, kept = found, epoch, copy.deepcopy(network.state_dict())
            elif epoch - best_epoch >= plan.patience:
                break
    if kept is not None:
        network.load_state_dict(kept)
    network.eval()
    return Fit(plan.rate, max(best, 0.0), best_epoch, epoch, time.perf_counter() - started)


def run(network: nn.Module, rows: Sequence[Ids], hardware: Hardware) -> Tensor:
    """`(b, outputs)` float32 outputs of one pass."""
    ids, mask = pad_rows(rows, max(len(row) for row in rows), pad_id_of(network))
    with torch.autocast(hardware.device.type, torch.bfloat16, enabled=hardware.bf16):
        outputs: Tensor = network(
            torch.from_numpy(ids).to(hardware.device), torch.from_numpy(mask).to(hardware.device)
        )
    return outputs.float()


@torch.inference_mode()
def outputs_of(network: nn.Module, rows: Sequence[Ids], at_once: int = 32) -> NDArray[np.float32]:
    """`(n, outputs)` float32 of all rows, without dropout."""
    hardware = this_hardware()
    network.to(hardware.device).eval()
    done: NDArray[np.float32] | None = None
    for some in by_length(rows, at_once):
        outputs = run(network, [rows[row] for row in some], hardware).cpu().numpy()
        if done is None:
            done = np.empty((len(rows), outputs.shape[1]), dtype=np.float32)
        done[some] = outputs
    if done is None:
        raise ValueError("there are no rows")
    return done


def epochs_for(rows: int, plan: FitPlan) -> int:
    """As many as the plan says, or as make up its least steps."""
    steps_each = -(-rows // plan.texts)
    return max(plan.epochs, -(-plan.least_steps // steps_each))


def share_of_rate(step: int, steps: int, warm_up: float) -> float:
    """Up in a line over `warm_up` of the steps, then down in a line to zero after the last."""
    rising = max(1, round(steps * warm_up))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


def batches_by_length(
    lengths: NDArray[np.int64], texts: int, at_once: int, chance: np.random.Generator
) -> Iterator[list[Rows]]:
    """All rows once, in steps of about `texts` rows, each of passes of `at_once` rows.

    Rows are shuffled, then sorted within pools of some steps and cut into passes; a step takes
    passes from anywhere in its pool, so that it is not of one length.
    """
    order = chance.permutation(len(lengths))
    pool, each = POOL * texts, max(1, texts // at_once)
    for start in range(0, len(order), pool):
        some = order[start : start + pool]
        some = some[np.argsort(lengths[some], kind="stable")]
        passes = [some[at : at + at_once] for at in range(0, len(some), at_once)]
        shuffled = [passes[place] for place in chance.permutation(len(passes))]
        for at in range(0, len(shuffled), each):
            yield shuffled[at : at + each]


def pad_id_of(network: nn.Module) -> int:
    """The padding token of a network's backbone."""
    backbone: Any = network.backbone
    return int(backbone.config.pad_token_id or 0)


def _optimizer(network: nn.Module, plan: FitPlan) -> torch.optim.Optimizer:
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and ".embeddings." not in name
            groups.setdefault((name.startswith("backbone."), decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": plan.rate if of_backbone else plan.head_rate,
                "weight_decay": plan.weight_decay if decays else 0.0,
            }
            for (of_backbone, decays), parameters in groups.items()
        ],
        fused=True,
    )
