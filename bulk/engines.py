"""Who does the blocks: this process, or actors on a Ray cluster. Both by `Worker.do`.

Ray Data streams the blocks' descriptions (a path and two numbers) to a pool of actors, each with
the encoder loaded once, and starts lost actors and their blocks anew elsewhere. Rows never pass
through Ray's object store: an actor reads them where they are and writes its own file.
"""

from __future__ import annotations

import logging
import os
import platform
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from app.settings import Settings
from bulk.plan import Block, Receipt, Refused
from bulk.worker import Encoding, Job, Worker, encoding
from models.encoder import EncoderInfo

# A task on a node that died is tried every second or so until Ray has noticed the death, which
# takes it up to half a minute; then its actor is started elsewhere. A block that kills its process
# is given up after as many processes.
TASK_RETRIES = 40


class Engine(Protocol):
    """Where blocks are done."""

    def info(self) -> EncoderInfo:
        """The encoder there."""
        ...

    def do(self, job: Job, blocks: Sequence[Block]) -> Iterator[Receipt]:
        """Receipts in any order; blocks that were lost have none.

        Raises:
            Refused: it cannot be done there.
        """
        ...


@dataclass(frozen=True)
class OneProcess:
    """This process, one block after the other."""

    encoder: Encoding

    def info(self) -> EncoderInfo:
        return self.encoder.info

    def do(self, job: Job, blocks: Sequence[Block]) -> Iterator[Receipt]:
        worker = Worker(job, self.encoder)
        for block in blocks:
            yield worker.do(block, platform.node())


class OnRay:
    """Actors on a Ray cluster.

    Args:
        settings: the service's.
        address: of a running cluster; empty: what RAY_ADDRESS names, else one of this machine
            alone, which ends with this process.
        actors: how many; 0: as many as there is room for.
        cpus: of each: its threads.
        gpus: of each.

    Raises:
        Refused: Ray is not installed, or the cluster does not answer.
    """

    def __init__(
        self, settings: Settings, address: str, *, actors: int, cpus: int, gpus: float
    ) -> None:
        self._settings = settings.model_copy(update={"threads": settings.threads or cpus})
        self._actors = actors
        self._cpus, self._gpus = cpus, gpus
        self._ray = _connected(address)
        self._pool()  # refused now, where it would be waited for in vain

    def info(self) -> EncoderInfo:
        """The encoder, by one actor's worth of a machine: the driver's may be another kind."""
        task = self._ray.remote(num_cpus=self._cpus, num_gpus=self._gpus)(_info)
        info: EncoderInfo = self._ray.get(task.remote(self._settings))
        return info

    def do(self, job: Job, blocks: Sequence[Block]) -> Iterator[Receipt]:
        import ray.data

        job = replace(job, settings=self._settings)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # What is lost is done in another round: one lost block must not end the others.
        context.max_errored_blocks = -1
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # of blocks that were lost
        rows = ray.data.from_items([asdict(b) for b in blocks], override_num_blocks=len(blocks))
        with warnings.catch_warnings():
            # Ray 2.60 names no other way to say how often a task is tried.
            warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
            done = rows.map_batches(
                Actor,
                fn_constructor_args=(job,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(self._pool(), len(blocks))),
                num_cpus=self._cpus,
                num_gpus=self._gpus,
                max_restarts=-1,
                max_task_retries=TASK_RETRIES,
            )
        try:
            for row in done.iter_rows():
                receipt = Receipt.from_json(row["receipt"])
                if receipt is not None:
                    yield receipt
        except ray.exceptions.RayError as error:
            raise Refused(_reason(error)) from error

    def _pool(self) -> int:
        if self._actors:
            return self._actors
        fit = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                rooms = [has.get("CPU", 0) // self._cpus]
                if self._gpus:
                    rooms.append(has.get("GPU", 0) // self._gpus)
                fit += int(min(rooms))
        if not fit:
            raise Refused(
                f"no machine of the cluster has {self._cpus} CPUs and {self._gpus:g} GPUs; "
                "--actors waits for some"
            )
        return fit


class Actor:
    """A worker in a process of Ray's."""

    def __init__(self, job: Job) -> None:
        import ray

        self._node = ray.get_runtime_context().get_node_id()[:12]
        self._worker = Worker(job, Encoding(job.settings))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        columns = [batch[name].tolist() for name in ("number", "path", "first", "rows")]
        blocks = [Block(*values) for values in zip(*columns, strict=True)]
        return {"receipt": [self._worker.do(block, self._node).to_json() for block in blocks]}


def _info(settings: Settings) -> EncoderInfo:
    with encoding(settings) as opened:
        return opened.info


def _connected(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
    except ImportError:
        raise Refused("ray is not installed: pip install '.[bulk]', or --single") from None
    known = address or os.environ.get("RAY_ADDRESS", "")
    try:
        if known:
            ray.init(known, log_to_driver=False, logging_level=logging.WARNING)
        else:
            ray.init(
                "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                _node_ip_address="127.0.0.1",
            )
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise Refused(f"no Ray cluster at {known}: {error}") from None
    return ray


def _reason(error: BaseException) -> str:
    """The last line of what Ray says about an error somewhere else: the error itself."""
    cause = getattr(error, "cause", None)
    told = str(cause or error).strip().splitlines()
    return told[-1] if told else type(error).__name__
