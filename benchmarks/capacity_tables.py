"""The tables of docs/capacity.md, from the model of `benchmarks.capacity`.

python -m benchmarks.capacity_tables
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.capacity import Traffic, cheapest, separate_dollars

SIZES = (1e6, 1e8, 1e10)
TASKS = (10, 100, 1000)
SHAPES: dict[str, dict[str, float]] = {
    "all new": {"unique": 1.0},
    "mixed": {},
    "repeating": {"unique": 0.05, "exponent": 1.1},
}


def tables() -> Iterator[str]:
    """The tables of docs/capacity.md, in markdown, a line at a time."""
    yield (
        "| texts a day | tasks | codes live | found | encoder cores | api cores | Redis GiB |"
        " Redis codes/s | out Gbit/s | machines | $ a month | most of it |"
    )
    yield "|" + " ---: |" * 11 + " --- |"
    for texts in SIZES:
        for tasks in TASKS:
            yield _row(Traffic(texts, tasks))
    yield ""
    yield (
        "| texts a day | tasks | on cores | on cards | separate models on cores |"
        " separate models on cards |"
    )
    yield "|" + " ---: |" * 6
    for texts in SIZES:
        for tasks in TASKS:
            yield _comparison(Traffic(texts, tasks))
    yield ""
    yield "| shape | texts a day | codes live | found | encoder cores | Redis GiB | $ a month |"
    yield "| --- |" + " ---: |" * 6
    for name, shape in SHAPES.items():
        for texts in SIZES:
            policy, one = cheapest(Traffic(texts, 100, **shape))
            yield (
                f"| {name} | {_big(texts)} | {_days(policy.life_days)} | {one.hit_ratio:.0%} |"
                f" {one.encoder_cores:,} | {_gib(one.redis_gib)} | {_money(one.total)} |"
            )


def _row(traffic: Traffic) -> str:
    policy, one = cheapest(traffic)
    share = one.dollars[one.dominant] / one.total
    return (
        f"| {_big(traffic.texts_a_day)} | {traffic.tasks:,} | {_days(policy.life_days)} |"
        f" {one.hit_ratio:.0%} | {one.encoder_cores:,} | {one.api_cores:,} |"
        f" {_gib(one.redis_gib)} | {one.redis_ops_s:,.0f} | {_gbit(one.out_gbit_s)} |"
        f" {one.machines:,} | {_money(one.total)} | {one.dominant} {share:.0%} |"
    )


def _comparison(traffic: Traffic) -> str:
    policy, on_cores = cheapest(traffic)
    _, on_cards = cheapest(traffic, encoders="cards")
    return (
        f"| {_big(traffic.texts_a_day)} | {traffic.tasks:,} | {_money(on_cores.total)} |"
        f" {_money(on_cards.total)} ({on_cards.cards} cards) |"
        f" {_money(separate_dollars(traffic, policy))} |"
        f" {_money(separate_dollars(traffic, policy, encoders='cards'))} |"
    )


def _days(days: float) -> str:
    return f"{days * 24:g} h" if days < 1 else f"{days:g} d"


def _big(number: float) -> str:
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:g} {name}"
    return f"{number:g}"


def _gib(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _gbit(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1g}"


def _money(dollars: float) -> str:
    """Two figures: more would be pretended."""
    digits = 1 - math.floor(math.log10(dollars)) if dollars else 0
    return f"{round(dollars, digits):,.0f}"


if __name__ == "__main__":
    print("\n".join(tables()))
