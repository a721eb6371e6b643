"""A run: begin or go on, do what is missing in rounds, report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

from app.errors import ApiError
from app.settings import Settings
from app.tasks.plans import Plan, plan_for
from app.tasks.state import Snapshot
from app.wiring import open_registry
from bulk.engines import Engine
from bulk.ledger import Ledger
from bulk.plan import FORMAT, Block, Receipt, Refused, blocks_of
from bulk.source import Source
from bulk.storage import Folder
from bulk.table import Shape
from bulk.worker import Job
from models.artifact import digest_json
from models.encoder import EncoderInfo

IDLE_ROUNDS = 2  # that do nothing, before what is left is given up
NO_HEADS = Plan((), None, (), ())


class NotDone(Exception):
    """Some blocks were not done. The same command goes on with them."""


@dataclass(frozen=True)
class Options:
    """What the caller asks for; see the command line's help."""

    source: str
    out: str
    tasks: tuple[str, ...] | None  # None: all; (): codes alone
    text_column: str = "text"
    key_column: str = ""
    keep: tuple[str, ...] = ()
    prefix: str = ""
    codes: bool = False
    scores: bool = False
    truncate: bool = True
    block_rows: int = 10_000
    restart: bool = False
    price: float | None = None


@dataclass(frozen=True)
class Begun:
    """A run that is begun or gone on with."""

    job: Job
    blocks: list[Block]
    done: dict[int, Receipt]
    ledger: Ledger


Progress = Callable[[int], None]  # is told how many more rows are done


def begin(options: Options, settings: Settings, info: EncoderInfo) -> Begun:
    """Look at the input, the heads and the output; note the run there.

    Raises:
        Refused: the input cannot be read, a head cannot be used, or the output holds another run.
    """
    out = Folder(options.out)
    _refuse_nested(Folder(options.source), out)
    copied = [name for name in (options.key_column, *options.keep) if name]
    files, fields = Source(options.source).files(options.text_column, copied)
    snapshot = open_registry(settings).snapshot
    plan = _plan(snapshot, options.tasks, info)
    shape = Shape(
        place=not options.key_column,
        copied=tuple(fields),
        codes=options.codes,
        scores=options.scores,
        prefix=options.prefix,
        plan=plan,
        code_bytes=info.code_bytes,
        run="",
    )
    shape.schema()  # may be refused
    spec = {
        "format": FORMAT,
        "encoder": info.fingerprint,
        "heads": {task.name: _head(snapshot, plan, task.name) for task in plan.tasks},
        "files": [asdict(file) for file in files],
        "text_column": options.text_column,
        "key_column": options.key_column,
        "copied": [[field.name, str(field.type)] for field in fields],
        "prefix": options.prefix,
        "codes": options.codes,
        "scores": options.scores,
        "truncate": options.truncate,
        "max_text_kb": settings.max_text_kb,
        "block_rows": options.block_rows,
    }
    ledger = Ledger(out)
    run = ledger.begin(spec, restart=options.restart)
    blocks = blocks_of(files, options.block_rows)
    job = Job(
        source=options.source,
        out=options.out,
        text_column=options.text_column,
        truncate=options.truncate,
        encoder=info.fingerprint,
        shape=replace(shape, run=run),
        settings=settings,
    )
    return Begun(job, blocks, ledger.done(run, blocks), ledger)


def work(begun: Begun, engine: Engine, progress: Progress) -> dict[int, Receipt]:
    """Do what is missing; receipts of what this run did.

    Raises:
        NotDone: some blocks fail, or their processes die.
        Refused: by the engine.
    """
    made: dict[int, Receipt] = {}
    failures: dict[int, str] = {}
    idle = 0
    todo = [block for block in begun.blocks if block.number not in begun.done]
    while todo:
        before = len(made)
        for receipt in engine.do(begun.job, todo):
            if receipt.failure is not None:
                failures[receipt.number] = receipt.failure
            elif receipt.number not in made:
                made[receipt.number] = receipt
                progress(receipt.rows)
        todo = [block for block in todo if block.number not in made]
        idle = idle + 1 if len(made) == before else 0
        if todo and idle == IDLE_ROUNDS:
            raise NotDone(_told(todo, failures))
    return made


def report(
    begun: Begun, made: dict[int, Receipt], seconds: float, price: float | None
) -> dict[str, Any]:
    """Figures of a run that is complete. `seconds` and what is made of it are of this run alone.

    Args:
        begun: the run.
        made: what it did, beside what an earlier one had done.
        seconds: that it took.
        price: of an hour of all machines together.
    """
    all_done = begun.done | made
    receipts = list(all_done.values())
    rows = sum(one.rows for one in receipts)
    new_rows = sum(one.rows for one in made.values())
    bad = sum(one.bad for one in receipts)
    cached, encoded = (sum(getattr(r, n) for r in receipts) for n in ("cached", "encoded"))
    tasks = len(begun.job.shape.plan.tasks)
    found: dict[str, Any] = {
        "out": begun.job.out,
        "rows": rows,
        "bad_rows": bad,
        "blocks": len(receipts),
        "resumed_rows": rows - new_rows,
        "tasks": tasks,
        "encoded": encoded,
        # A pass a text and task is what one model a task costs.
        "passes_saved": {
            "cache": cached,
            "repeats": rows - bad - cached - encoded,
            "sharing": (rows - bad) * max(0, tasks - 1),
        },
        "seconds": round(seconds, 1),
        "rows_per_second": round(new_rows / seconds, 1) if seconds else 0.0,
        "encoding_share": _share(made.values()),
        "blocks_by_node": dict(Counter(one.node for one in made.values())),
    }
    if price is not None:
        cost = price * seconds / 3600
        found["cost"] = round(cost, 6)
        found["cost_per_million_rows"] = round(cost / new_rows * 1e6, 4) if new_rows else None
    return found


def go(
    options: Options, settings: Settings, engine: Engine, progress: Callable[[Begun], Progress]
) -> dict[str, Any]:
    """All of a run; returns its report.

    Raises:
        Refused, NotDone: as `begin` and `work`.
    """
    started = time.monotonic()
    begun = begin(options, settings, engine.info())
    made = work(begun, engine, progress(begun))
    found = report(begun, made, time.monotonic() - started, options.price)
    begun.ledger.finish((begun.done | made).values(), found)
    return found


def _share(receipts: Any) -> float:
    times = [(one.encode_s, one.seconds) for one in receipts]
    whole = sum(seconds for _, seconds in times)
    return round(sum(encode for encode, _ in times) / whole, 3) if whole else 0.0


def _plan(snapshot: Snapshot, tasks: Sequence[str] | None, info: EncoderInfo) -> Plan:
    if tasks == ():
        return NO_HEADS
    try:
        plan = plan_for(snapshot, tasks, info.fingerprint, info.bits)
    except ApiError as error:
        raise Refused(error.message) from None
    if not plan.tasks:
        reasons = "; ".join(one["reason"] for one in plan.skipped)
        raise Refused(f"there is no task to ask{': ' if reasons else ''}{reasons}")
    return replace(plan, shadows=(), pieces=None)


def _head(snapshot: Snapshot, plan: Plan, name: str) -> dict[str, Any]:
    """What decides a task's answers: its version, by number and by content."""
    state = snapshot.get(name)
    (task,) = (one for one in plan.tasks if one.name == name)
    assert state.head is not None
    tensors = state.head.tensors()
    digest = digest_json(
        {
            "kind": task.kind,
            "labels": list(task.labels),
            "thresholds": task.thresholds.tolist(),
            "floor": dict(plan.floors).get(name, 0.0),
            "tensors": {n: sha256(t.tobytes()).hexdigest() for n, t in sorted(tensors.items())},
        }
    )
    return {"version": task.version, "digest": digest}


def _refuse_nested(source: Folder, out: Folder) -> None:
    inner, outer = out.path(""), source.path("")
    if inner == outer or inner.startswith(outer.rstrip("/") + "/"):
        raise Refused("the output lies in the input: what is written would be read")


def _told(left: Sequence[Block], failures: Mapping[int, str]) -> str:
    first = left[0]
    reason = failures.get(first.number, "the process that did it ended")
    return (
        f"{len(left)} blocks are not done; the first is rows {first.first} to "
        f"{first.first + first.rows - 1} of {first.path}: {reason}"
    )
