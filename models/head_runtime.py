"""Heads for serving: numpy only, all linear heads of a request in one matrix product.

A head reads codes as signs, `x = 2 * bits - 1`. Serving folds that into the weights
(`x @ w + b = bits @ (2 w) + (b - w.sum(0))`), so that unpacked bits are multiplied as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.artifact import ArtifactError
from models.codes import Codes, Floats, unpack_bits

TaskKind = Literal["single_label", "multi_label", "regression"]
HeadKind = Literal["linear", "mlp", "prototype"]
HeadChoice = Literal["auto", "linear", "mlp", "prototype"]  # auto: whichever suits the rows
ClassWeight = Literal["balanced"] | None
# A label is given where its probability is above, unless the version has thresholds of its own.
MULTI_LABEL_THRESHOLD = 0.5
LARGEST_OUTPUT = 1e30  # over it, sums could leave the range of 32-bit floats


@dataclass(frozen=True, slots=True)
class LinearHead:
    """`weight` is `(bits, outputs)` float32, `bias` `(outputs,)`, over signs."""

    weight: Floats
    bias: Floats

    @property
    def outputs(self) -> int:
        return int(self.bias.shape[0])

    def tensors(self) -> dict[str, Floats]:
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True, slots=True)
class MLPHead:
    """One hidden ReLU layer over signs: `(bits, hidden)`, `(hidden,)`, then a `LinearHead`."""

    hidden_weight: Floats
    hidden_bias: Floats
    output: LinearHead

    @property
    def outputs(self) -> int:
        return self.output.outputs

    def tensors(self) -> dict[str, Floats]:
        return {
            "hidden_weight": self.hidden_weight,
            "hidden_bias": self.hidden_bias,
            **self.output.tensors(),
        }


Head = LinearHead | MLPHead


def head_from_tensors(tensors: dict[str, NDArray[Any]], bits: int, outputs: int) -> Head:
    """A head from the tensors of its artifact.

    Args:
        tensors: `weight`, `bias`, and for an MLP `hidden_weight` and `hidden_bias`.
        bits: width of the codes it must read.
        outputs: number of labels (1 for a regression).

    Raises:
        ArtifactError: a tensor is missing, of the wrong shape or type, not finite, or so large
            that an output might not be.
    """
    names = set(tensors)
    if names not in ({"weight", "bias"}, {"weight", "bias", "hidden_weight", "hidden_bias"}):
        raise ArtifactError(f"a head cannot have the tensors {sorted(names)}")
    floats: dict[str, Floats] = {}
    for name, value in tensors.items():
        if value.dtype not in (np.float16, np.float32) or not np.isfinite(value).all():
            raise ArtifactError(f"{name} must hold finite 16- or 32-bit floats")
        floats[name] = value.astype(np.float32)
    mlp = "hidden_weight" in floats
    width = floats["hidden_bias"].size if mlp else bits
    expected = {"weight": (width, outputs), "bias": (outputs,)}
    if mlp:
        expected |= {"hidden_weight": (bits, width), "hidden_bias": (width,)}
    for name, shape in expected.items():
        if floats[name].shape != shape:
            raise ArtifactError(f"{name} has shape {floats[name].shape}, expected {shape}")
    largest = np.ones(bits)
    if mlp:
        largest = _largest(largest, floats["hidden_weight"], floats["hidden_bias"])
    if not (_largest(largest, floats["weight"], floats["bias"]) <= LARGEST_OUTPUT).all():
        raise ArtifactError(f"outputs could be over {LARGEST_OUTPUT:g}")
    linear = LinearHead(floats["weight"], floats["bias"])
    return MLPHead(floats["hidden_weight"], floats["hidden_bias"], linear) if mlp else linear


def _largest(inputs: NDArray[np.float64], weight: Floats, bias: Floats) -> NDArray[np.float64]:
    """What outputs (and partial sums over bits) cannot exceed, given that of the inputs."""
    doubled = 2.0 * np.abs(weight.astype(np.float64))
    sums: NDArray[np.float64] = inputs @ doubled + np.abs(bias.astype(np.float64))
    return sums


def fold_signs(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Weights over signs to the same map over bits, on a grid where sums are exact.

    Args:
        weight: `(bits, outputs)` over signs.
        bias: `(outputs,)`.

    Returns:
        Weight and bias over bits, each column rounded to its `exact_grid`.
    """
    over_bits = 2.0 * weight.astype(np.float64)
    shifted = bias.astype(np.float64) - weight.sum(axis=0, dtype=np.float64)
    grid = exact_grid(np.abs(over_bits).sum(axis=0) + np.abs(shifted))
    rounded = np.round(over_bits / grid) * grid, np.round(shifted / grid) * grid
    return rounded[0].astype(np.float32), rounded[1].astype(np.float32)


def exact_grid(bound: NDArray[np.float64]) -> NDArray[np.float64]:
    """The finest power of two on which sums up to `bound` are exact in float32.

    Codes are zeros and ones, so a logit is a sum of weights. When all weights of a column are
    multiples of g and no partial sum exceeds 2^23 g, every float32 addition is exact: the logit is
    the same to the last bit in any order of summation, so for any batch size, kernel and machine.
    With sums of about 50 the grid is about 6e-6, far under what a score shows.

    Args:
        bound: `(outputs,)`, the sum of absolute values in each column.

    Returns:
        `(outputs,)` powers of two.
    """
    smallest = np.finfo(np.float32).tiny
    grid: NDArray[np.float64] = np.exp2(np.ceil(np.log2(np.maximum(bound, smallest) / 2**23)))
    return grid


def probabilities(logits: Floats, kind: TaskKind) -> Floats:
    """One head's outputs as it shows them: softmax, logistic function, or as they are.

    Args:
        logits: `(n, outputs)`.
        kind: of the task.
    """
    if kind == "single_label":
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax: Floats = powers / powers.sum(axis=1, keepdims=True)
        return softmax
    return _logistic(logits) if kind == "multi_label" else logits


def _logistic(logits: Floats) -> Floats:
    """The logistic function in its tanh form: no overflow at either end."""
    values: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return values


class HeadStack:
    """Several heads applied together.

    Args:
        heads: the heads, all over codes of one width.
        kinds: the task kind of each: single label becomes probabilities by softmax, multi label
            by the logistic function, regression stays as it is.

    Raises:
        ValueError: as many kinds as heads are needed, and at least one.
    """

    def __init__(self, heads: Sequence[Head], kinds: Sequence[TaskKind]) -> None:
        if not heads or len(heads) != len(kinds):
            raise ValueError(f"{len(heads)} heads and {len(kinds)} kinds do not make a stack")
        # Linear heads' columns first: they are the one matrix product.
        order = sorted(range(len(heads)), key=lambda i: isinstance(heads[i], MLPHead))
        linear = [head for head in (heads[i] for i in order) if isinstance(head, LinearHead)]
        self._mlps = [head for head in (heads[i] for i in order) if isinstance(head, MLPHead)]
        self._folded_hidden = [fold_signs(mlp.hidden_weight, mlp.hidden_bias) for mlp in self._mlps]
        if linear:
            weight = np.concatenate([head.weight for head in linear], axis=1)
            bias = np.concatenate([head.bias for head in linear])
            folded, self._bias = fold_signs(weight, bias)
            self._weight: Floats | None = np.ascontiguousarray(folded)
        else:
            self._weight, self._bias = None, np.zeros(0, dtype=np.float32)
        self._sizes = np.array([heads[i].outputs for i in order])
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        column_kinds = np.repeat(np.array([kinds[i] for i in order]), self._sizes)
        self._is_softmax = column_kinds == "single_label"
        self._is_logistic = column_kinds == "multi_label"
        self._all_softmax = bool(self._is_softmax.all())
        self._head_of_column = np.repeat(np.arange(len(order)), self._sizes)
        position = {head: place for place, head in enumerate(order)}
        self._given_order = np.array([position[head] for head in range(len(heads))])
        self._in_given_order = order == list(range(len(heads)))
        self._spans = [
            (int(self._starts[position[i]]), int(self._starts[position[i]] + heads[i].outputs))
            for i in range(len(heads))
        ]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Columns `[start, stop)` of each head in what `scores` returns, in the given order."""
        return self._spans

    def scores(self, codes: Codes) -> Floats:
        """All heads' outputs.

        Args:
            codes: `(n, bits // 8)` uint8.

        Returns:
            `(n, sum of outputs)` float32: probabilities, or values for regressions; see `spans`.
        """
        logits = self._logits(codes)
        return self._activate(logits, self._highest(logits))

    def best(self, codes: Codes) -> tuple[NDArray[np.int64], Floats]:
        """Each head's highest output, without working out all the others' probabilities.

        Args:
            codes: `(n, bits // 8)` uint8.

        Returns:
            Column numbers and the scores there, both `(n, heads)`, heads in the given order; of
            equal outputs the first column.
        """
        logits = self._logits(codes)
        highest = self._highest(logits)
        rows, columns = np.nonzero(logits == highest.take(self._head_of_column, axis=1))
        if len(columns) > highest.size:
            # Ties: of the columns that reach their head's maximum, keep the first in each row.
            cells = rows * len(self._starts) + self._head_of_column[columns]
            first = np.ones(len(cells), dtype=bool)
            np.not_equal(cells[1:], cells[:-1], out=first[1:])
            columns = columns[first]
        best = columns.reshape(highest.shape)
        if self._all_softmax:
            # exp(x - highest) is 1 at the highest column: its probability is one over the sum.
            scores = 1.0 / self._sums(self._powers(logits, highest))
        else:
            scores = np.take_along_axis(self._activate(logits, highest), best, axis=1)
        if self._in_given_order:
            return best, scores
        return best[:, self._given_order], scores[:, self._given_order]

    def _logits(self, codes: Codes) -> Floats:
        bits = unpack_bits(codes)
        parts = []
        if self._weight is not None:
            linear = bits @ self._weight
            linear += self._bias
            parts.append(linear)
        for mlp, (weight, bias) in zip(self._mlps, self._folded_hidden, strict=True):
            hidden = np.maximum(bits @ weight + bias, 0.0)
            # In doubles: what the order of summation changes is lost when they become floats.
            output = hidden.astype(np.float64) @ mlp.output.weight + mlp.output.bias
            parts.append(output.astype(np.float32))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _highest(self, logits: Floats) -> Floats:
        highest: Floats = np.maximum.reduceat(logits, self._starts, axis=1)
        return highest

    def _powers(self, logits: Floats, highest: Floats) -> Floats:
        powers: Floats = np.exp(logits - highest.take(self._head_of_column, axis=1))
        return powers

    def _sums(self, powers: Floats) -> Floats:
        sums: Floats = np.add.reduceat(powers, self._starts, axis=1)
        return sums

    def _activate(self, logits: Floats, highest: Floats) -> Floats:
        powers = self._powers(logits, highest)
        softmax: Floats = powers / self._sums(powers).take(self._head_of_column, axis=1)
        if self._all_softmax:
            return softmax
        others = np.where(self._is_logistic, _logistic(logits), logits)
        mixed = np.where(self._is_softmax, softmax, others)
        return mixed.astype(np.float32)
