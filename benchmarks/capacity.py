"""How many machines, and how much money, for how much traffic: a model, checked by a measurement.

    python -m benchmarks.capacity [--texts-a-day 1e8] [--tasks 100] [--unique 0.2] ...

Pure arithmetic over `benchmarks.capacity_figures` and `benchmarks.popularity`. Processor time adds
up: an encoded text costs its pass, every text its request, look-up, and each task's head. What a
day's traffic costs is bought for its busiest hour (`peak`), with room (`utilisation`).
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Literal

from benchmarks.capacity_figures import PRICES_OF, Prices, Rates
from benchmarks.popularity import characteristic_time, held, hit_ratio, zipf

DAY_S = 86_400.0
GIB = 2**30
LIVES = (1 / 24, 0.25, 0.5, 1.0, 3.0, 7.0, 30.0)  # days that a code may live
Encoders = Literal["cores", "cards"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is asked.

    Attributes:
        texts_a_day: on the mean.
        tasks: asked of every text.
        peak: the busiest hour over the mean.
        unique: share of texts that never come again.
        exponent: of Zipf's law among the others.
        distinct_days: the others are drawn from as many texts as are asked in so many days.
        texts_a_request: on the mean.
        relative_work: of a text's pass, as a multiple of the measured one (23 tokens).
    """

    texts_a_day: float
    tasks: int
    peak: float = 3.0
    unique: float = 0.3
    exponent: float = 1.0
    distinct_days: float = 1.0
    texts_a_request: float = 16.0
    relative_work: float = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How it is run.

    Attributes:
        life_days: of a code.
        layout: of codes in Redis.
        memory_gib: of codes, one copy; None for as much as they need.
        replicas: copies of each code beside the first.
        utilisation: of what is bought, at the peak.
        least: api and encoder processes that there are whatever the load, for failures.
    """

    life_days: float = 1.0
    layout: Literal["string", "packed"] = "string"
    memory_gib: float | None = None
    replicas: int = 1
    utilisation: float = 0.6
    least: int = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes.

    Attributes:
        hit_ratio: share of texts whose code is there.
        peak_texts_s: in the busiest hour.
        encoder_cores: for passes; 0 with cards.
        cards: and how many; 0 with cores.
        api_cores: for requests, look-ups and heads.
        redis_gib: of codes, replicas included.
        redis_ops_s: codes read and written a second at the peak.
        redis_cores: processor time of the masters, one thread each.
        out_gbit_s: of answers at the peak.
        machines: for all of it.
        dollars: a month, by part.
    """

    hit_ratio: float
    peak_texts_s: float
    encoder_cores: int
    cards: int
    api_cores: int
    redis_gib: float
    redis_ops_s: float
    redis_cores: int
    out_gbit_s: float
    machines: int
    dollars: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.dollars.values())

    @property
    def dominant(self) -> str:
        """The part that costs most."""
        return max(self.dollars, key=lambda name: self.dollars[name])


def hits_of(traffic: Traffic, policy: Policy, rates: Rates) -> tuple[float, float]:
    """Hit ratio, and codes held, once codes have been there for their life."""
    texts = max(1, round(traffic.texts_a_day * traffic.distinct_days))
    popularity = zipf(texts, traffic.exponent, traffic.unique)
    life = policy.life_days * traffic.texts_a_day
    room = None
    if policy.memory_gib is not None:
        room = policy.memory_gib * GIB / entry_bytes(policy, rates)
    age = characteristic_time(popularity, room, life)
    return hit_ratio(popularity, room, life), held(popularity, age, life)


def entry_bytes(policy: Policy, rates: Rates) -> float:
    """Of the server's memory, a code."""
    return rates.string_bytes if policy.layout == "string" else rates.packed_bytes


def plan(
    traffic: Traffic,
    policy: Policy | None = None,
    rates: Rates | None = None,
    prices: Prices | None = None,
    encoders: Encoders = "cores",
) -> Plan:
    """What a shared encoder with a head a task takes."""
    policy, rates, prices = policy or Policy(), rates or Rates(), prices or Prices()
    hits, codes = hits_of(traffic, policy, rates)
    texts_s = traffic.texts_a_day / DAY_S * traffic.peak
    passes_s = texts_s * (1.0 - hits) * traffic.relative_work
    cores, cards = _encoders(passes_s, policy, rates, encoders)
    api_s = (
        rates.api_s_a_request / traffic.texts_a_request
        + rates.api_s_a_text
        + rates.api_s_a_task * traffic.tasks
    )
    api_cores = max(policy.least, math.ceil(texts_s * api_s / policy.utilisation))
    gib = codes * entry_bytes(policy, rates) * (1 + policy.replicas) / GIB
    redis_s = rates.redis_s_a_read + (1.0 - hits) * rates.redis_s_a_write
    redis_cores = max(1, math.ceil(texts_s * redis_s / policy.utilisation))
    out_bytes = rates.answer_bytes_a_task * traffic.tasks
    month_gib = traffic.texts_a_day * prices.hours_a_month / 24 * out_bytes / GIB
    month = prices.hours_a_month
    nodes = redis_cores * (1 + policy.replicas)
    dollars = {
        "encoder": month * (cores * prices.core_hour + cards * prices.card_hour),
        "heads and api": month * api_cores * prices.core_hour,
        "redis": month * max(gib * prices.memory_gib_hour, nodes * prices.core_hour),
        "traffic": month_gib * prices.out_gib,
    }
    machines = (
        math.ceil((cores + api_cores) / prices.cores_a_machine)
        + cards
        + max(math.ceil(gib / prices.gib_a_machine), math.ceil(nodes / prices.cores_a_machine))
    )
    return Plan(
        hit_ratio=hits,
        peak_texts_s=texts_s,
        encoder_cores=cores,
        cards=cards,
        api_cores=api_cores,
        redis_gib=gib,
        redis_ops_s=texts_s * (2.0 - hits),
        redis_cores=redis_cores,
        out_gbit_s=texts_s * out_bytes * 8 / 1e9,
        machines=machines,
        dollars=dollars,
    )


def _encoders(passes_s: float, policy: Policy, rates: Rates, encoders: Encoders) -> tuple[int, int]:
    """Cores and cards for passes at the peak."""
    if encoders == "cores":
        needed = passes_s / rates.encoder_texts_a_core / policy.utilisation
        return max(policy.least, math.ceil(needed)), 0
    needed = passes_s / rates.encoder_texts_a_card / policy.utilisation
    return 0, max(policy.least, math.ceil(needed))


def cheapest(
    traffic: Traffic,
    policy: Policy | None = None,
    rates: Rates | None = None,
    prices: Prices | None = None,
    encoders: Encoders = "cores",
) -> tuple[Policy, Plan]:
    """The life of a code, of `LIVES`, that costs least."""
    policy = policy or Policy()
    plans = [
        (one, plan(traffic, one, rates, prices, encoders))
        for one in (replace(policy, life_days=days) for days in LIVES)
    ]
    # Of equals, the longest: what is there anyway may as well be used.
    return min(plans, key=lambda pair: (pair[1].total, -pair[0].life_days))


def worth_keeping_s(
    policy: Policy | None = None, rates: Rates | None = None, prices: Prices | None = None
) -> float:
    """Seconds within which a text must come again for its code to be worth its memory.

    After Gray and Putzolu's five-minute rule (1987): what a pass costs, over a second's rent of an
    entry and its copies.
    """
    policy, rates, prices = policy or Policy(), rates or Rates(), prices or Prices()
    pass_dollars = prices.core_hour / 3600 / rates.encoder_texts_a_core / policy.utilisation
    gib = entry_bytes(policy, rates) * (1 + policy.replicas) / GIB
    return pass_dollars / (gib * prices.memory_gib_hour / 3600)


def separate_dollars(
    traffic: Traffic,
    policy: Policy | None = None,
    rates: Rates | None = None,
    prices: Prices | None = None,
    encoders: Encoders = "cores",
) -> float:
    """A month of a model a task, each of the shared encoder's size, each answer cached too.

    Every model has its own cache of answers with the same hits, of 100 bytes an entry (ASSUMED),
    and is bought as a fraction of a core or card: with few texts that flatters it.
    """
    policy, rates, prices = policy or Policy(), rates or Rates(), prices or Prices()
    hits, entries = hits_of(traffic, policy, rates)
    texts_s = traffic.texts_a_day / DAY_S * traffic.peak
    passes_s = texts_s * (1.0 - hits) * traffic.relative_work * traffic.tasks
    if encoders == "cores":
        hourly = passes_s / rates.encoder_texts_a_core * prices.core_hour
    else:
        hourly = passes_s / rates.encoder_texts_a_card * prices.card_hour
    gib = entries * traffic.tasks * 100.0 * (1 + policy.replicas) / GIB
    return prices.hours_a_month * (hourly / policy.utilisation + gib * prices.memory_gib_hour)


def card_pays_from(rates: Rates | None = None, prices: Prices | None = None) -> float:
    """Texts/s that a card must encode to be as cheap as cores."""
    rates, prices = rates or Rates(), prices or Prices()
    return prices.card_hour / prices.core_hour * rates.encoder_texts_a_core


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts-a-day", type=float, default=1e8)
    parser.add_argument("--encoders", choices=("cores", "cards"), default="cores")
    for group in (Traffic, Policy, Rates, Prices):
        for one in fields(group):
            if one.name != "texts_a_day":
                name = "--" + one.name.replace("_", "-")
                kind = str if one.name == "layout" else float
                parser.add_argument(name, type=kind, default=argparse.SUPPRESS)
    parser.set_defaults(tasks=20)
    arguments = vars(parser.parse_args())
    given = [
        {one.name: arguments[one.name] for one in fields(group) if one.name in arguments}
        for group in (Traffic, Policy, Rates, Prices)
    ]
    traffic, policy = Traffic(**given[0]), Policy(**given[1])
    rates, prices = Rates(**given[2]), Prices(**given[3])
    if "life_days" in given[1]:
        made = plan(traffic, policy, rates, prices, arguments["encoders"])
    else:
        policy, made = cheapest(traffic, policy, rates, prices, arguments["encoders"])
    separate = separate_dollars(traffic, policy, rates, prices, arguments["encoders"])
    result = {
        "life_days": policy.life_days,
        **asdict(made),
        "dollars_a_month": made.total,
        "prices_of": PRICES_OF,
    }
    print(json.dumps({"benchmark": "capacity", **result, "separate_models_a_month": separate}))


if __name__ == "__main__":
    main()
