"""What an answer costs: one encoder and a head a task, or a student a task. Pure arithmetic.

Source: Du et al. (2020), section 5: distillation pays for every task anew, a shared encoder once a
text; from some number of tasks on the encoder is cheaper, and a code that is kept costs no pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """What decides the work of a BERT-like encoder.

    Attributes:
        layers: of the encoder.
        hidden: width of a token's state.
        inner: width inside the feed-forward part.
    """

    layers: int
    hidden: int
    inner: int


# The pair of the paper: a RoBERTa-large encoder beside six-layer students of RoBERTa-base's width.
LARGE = TransformerShape(24, 1024, 4096)
SIX_LAYERS = TransformerShape(6, 768, 3072)


def transformer_operations(shape: TransformerShape, tokens: int) -> int:
    """Floating-point operations of one text's matrix products, a multiply-add counting as two.

    Lookups, norms, activations and softmax are left out: they are under a hundredth.

    Args:
        shape: of the transformer. The number of attention heads does not matter.
        tokens: of the text, special ones included.
    """
    projections = 4 * tokens * shape.hidden**2  # query, key, value, output
    attention = 2 * tokens**2 * shape.hidden  # scores, and the mixture of values
    feed_forward = 2 * tokens * shape.hidden * shape.inner
    return 2 * shape.layers * (projections + attention + feed_forward)


def head_operations(bits: int, classes: int) -> int:
    """Operations of one linear head over a code, as `transformer_operations` counts them."""
    return 2 * bits * classes


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of one text, all in one unit: operations, or measured time.

    Attributes:
        encoder: one pass of the shared encoder.
        head: one more task on a code.
        student: one pass of one student, its own head included.
        tokenizing: once a text that a network reads, on either side.
        lookup: what every text costs on the shared side, whether its code is found or not, and
            whatever the number of tasks.
    """

    encoder: float
    head: float
    student: float
    tokenizing: float = 0.0
    lookup: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no cost.

        Raises:
            ValueError: a cost is negative.
        """
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} costs {getattr(self, name)}, under zero")

    def shared(self, tasks: int, hit_ratio: float = 0.0) -> float:
        """A text's answers for `tasks` tasks from one encoder, whose codes are cached.

        Args:
            tasks: how many are asked of every text.
            hit_ratio: share of texts whose code is found.

        Raises:
            ValueError: the hit ratio is not within [0, 1].
        """
        _check_ratio(hit_ratio)
        passes = (1 - hit_ratio) * (self.tokenizing + self.encoder)
        return passes + self.lookup + tasks * self.head

    def students(self, tasks: int, hit_ratio: float = 0.0) -> float:
        """The same answers from a student a task.

        Args:
            tasks: how many are asked of every text.
            hit_ratio: share of texts all of whose answers are found in a cache of answers. Such a
                cache can only hold tasks that were asked before; a code also answers new ones.

        Raises:
            ValueError: the hit ratio is not within [0, 1].
        """
        _check_ratio(hit_ratio)
        return (1 - hit_ratio) * (self.tokenizing + tasks * self.student)


def break_even(costs: Costs, hit_ratio: float = 0.0, answers_hit_ratio: float = 0.0) -> int | None:
    """The number of tasks from which on the shared encoder is cheaper than a student a task.

    Args:
        costs: of one text.
        hit_ratio: of the cache of codes.
        answers_hit_ratio: of a cache of the students' answers, if they have one.

    Returns:
        At least 1; None when the students are cheaper, or as cheap, from some number on.

    Raises:
        ValueError: a hit ratio is not within [0, 1].
    """
    for ratio in (hit_ratio, answers_hit_ratio):
        _check_ratio(ratio)
    # In fractions: rounding must not put the crossing itself on the wrong side.
    misses, unanswered = 1 - Fraction(hit_ratio), 1 - Fraction(answers_hit_ratio)
    saved_a_task = unanswered * Fraction(costs.student) - Fraction(costs.head)
    tokenizing = Fraction(costs.tokenizing)
    ahead = misses * (tokenizing + Fraction(costs.encoder)) + Fraction(costs.lookup)
    behind = unanswered * tokenizing
    if saved_a_task == 0:  # what comes before the tasks decides, for any number of them
        return 1 if ahead < behind else None
    if saved_a_task < 0:
        return None
    return max(1, floor((ahead - behind) / saved_a_task) + 1)


def _check_ratio(ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise ValueError(f"a hit ratio is from 0 to 1, not {ratio}")
