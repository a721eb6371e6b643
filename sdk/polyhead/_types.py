"""What predict, encode, embed and models return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, overload

T = TypeVar("T")

Precision = Literal["code", "full"]
"""`code`: the bits as ±1/√bits, cacheable. `full`: the encoder's float vector."""


def _sum(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost. A count that the service does not give is None.

    Attributes:
        prompt_tokens: Tokens of the texts.
        total_tokens: The same, under the name that other APIs use.
        inputs: Texts asked for.
        cached: Texts whose code was already stored.
        encoded: Texts that went through the encoder.
    """

    prompt_tokens: int | None = None
    total_tokens: int | None = None
    inputs: int | None = None
    cached: int | None = None
    encoded: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Add count by count; unknown plus anything is unknown."""
        return Usage(
            _sum(self.prompt_tokens, other.prompt_tokens),
            _sum(self.total_tokens, other.total_tokens),
            _sum(self.inputs, other.inputs),
            _sum(self.cached, other.cached),
            _sum(self.encoded, other.encoded),
        )


@dataclass(frozen=True, slots=True)
class Results(Sequence[T], Generic[T]):
    """An immutable sequence of results, in the order of the inputs.

    Attributes:
        items: The results, one an input.
        usage: What the whole call cost, over all its requests.
    """

    items: tuple[T, ...]
    usage: Usage

    def __len__(self) -> int:
        """How many inputs there were."""
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """The result of one input, or a list of several."""
        return list(self.items[index]) if isinstance(index, slice) else self.items[index]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of one task about one text. Which fields are set depends on the task's kind.

    Attributes:
        version: The version of the head that answered.
        label: Single label: the likeliest label; None where the version is not sure.
        score: Single label: the likeliest label's probability, 0 to 1.
        labels: Multi label: every label that applies, perhaps none.
        value: Regression: the number.
        scores: Label to probability, when `scores=True` was asked.
        abstained: Single label: the score is under the version's `min_confidence`.
    """

    version: int
    label: str | None = None
    score: float | None = None
    labels: tuple[str, ...] | None = None
    value: float | None = None
    scores: Mapping[str, float] | None = None
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """All the answers about one text: `result["sentiment"].label`.

    Attributes:
        index: Position of the text in the call.
        key: Cache key in hex: give it to `predict(keys=...)` to ask again without the text.
        cached: Whether the code was already stored.
        predictions: Task name to answer.
        truncated: Whether the text was cut to the encoder's limit; None when unknown.
    """

    index: int
    key: str
    cached: bool
    predictions: Mapping[str, Prediction]
    truncated: bool | None = None

    def __getitem__(self, task: str) -> Prediction:
        """The answer of one task; `KeyError` when it was not asked."""
        return self.predictions[task]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A task that was left out when all were asked, and why."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Predictions(Results[Result]):
    """What `predict` returns: a sequence of `Result`.

    Attributes:
        encoder: Fingerprint of the encoder that made every code.
        skipped: When all tasks were asked: those that could not answer.
    """

    encoder: str
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Code:
    """The binary code of one text.

    Attributes:
        key: Cache key in hex.
        code: Packed bits, most significant first, ceil(bits / 8) bytes.
        cached: Whether it was already stored.
        truncated: Whether the text was cut to the encoder's limit; None when unknown.
        tokens: Tokens of the text; None when unknown.
    """

    key: str
    code: bytes
    cached: bool
    truncated: bool | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Codes(Results[Code]):
    """What `encode` returns: a sequence of `Code`.

    Attributes:
        bits: Width of every code.
        encoder: Fingerprint of the encoder that made them; codes of two encoders do not compare.
    """

    bits: int
    encoder: str


@dataclass(frozen=True, slots=True)
class Embeddings(Results[list[float]]):
    """What `embed` returns: a sequence of vectors, each a list of floats of the same length.

    Attributes:
        model: The name of the encoder, when the service gives it.
    """

    model: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of `models()`.

    Attributes:
        id: Its name.
        created: Unix seconds, or None.
        owned_by: Who made it, or None.
    """

    id: str
    created: float | None = None
    owned_by: str | None = None
