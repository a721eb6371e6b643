"""bulk.run, bulk.ledger and bulk.verify: whole runs with a made-up encoder and small heads."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.cache.keys import digest_texts
from app.errors import EncoderUnavailable
from app.settings import Settings
from app.tasks.encode_rows import Encoded
from app.tasks.registry import Registry
from app.tasks.storage.opening import open_storage
from bulk.engines import OneProcess
from bulk.ledger import RECEIPTS, REPORT, Ledger
from bulk.plan import Block, Receipt, Refused
from bulk.run import NotDone, Options, go
from bulk.storage import Folder
from bulk.verify import verify
from bulk.worker import Job, Worker
from models.codes import stack_codes
from models.encoder import EncoderInfo
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead
from tests.unit.test_plans import random_head

BITS = 16
LONG = 40  # letters, over which a text is cut
POISON = "poison"
BAD = [None, "", " \t"]


@dataclasses.dataclass
class MadeUp:
    """A code of a text is a digest of it. Fails at poison, until it is cured."""

    fingerprint: str = "f1"
    asked: list[str] = dataclasses.field(default_factory=list)
    cured: bool = False
    ends_after: int = 10**9

    @property
    def info(self) -> EncoderInfo:
        return EncoderInfo("made-up", self.fingerprint, BITS, LONG, "cpu", "p")

    def encode(self, texts: list[str]) -> Encoded:
        if POISON in texts and not self.cured:
            raise EncoderUnavailable("the encoder failed")
        self.ends_after -= 1
        if self.ends_after < 0:
            raise KeyboardInterrupt
        self.asked += texts
        codes = [hashlib.sha256(text.encode()).digest()[: BITS // 8] for text in texts]
        stacked = stack_codes(codes) if codes else np.zeros((0, BITS // 8), dtype=np.uint8)
        usage = {"inputs": len(texts), "cached": 0, "encoded": len(set(texts))}
        cut = np.array([len(text) > LONG for text in texts], dtype=np.bool_)
        return Encoded(self.info, stacked, usage, cut)


class Runner:
    """Runs over an input of two files, with two tasks."""

    def __init__(self, folder: Path, make_manifest: Callable[..., HeadManifest]) -> None:
        self.source, self.out = folder / "in", folder / "out"
        self.settings = Settings(data_dir=folder / "data", ready_heads=None, redis_url=None)
        self.registry = Registry(open_storage("", folder / "data"))
        self.make_manifest = make_manifest
        self.add_task("mood", "single_label", ["low", "high"])
        self.add_task("topics", "multi_label", ["x", "y", "z"])
        self.source.mkdir()
        self.texts: dict[str, list[str | None]] = {
            "a.parquet": [f"text {n}" for n in range(25)],
            "b.parquet": ["last", *BAD, "x" * (LONG + 1), *["again"] * 3],
        }
        for name, texts in self.texts.items():
            self.write(name, texts)

    def write(self, name: str, texts: Sequence[str | None]) -> None:
        numbers = [f"{name}-{n}" for n in range(len(texts))]
        table = pa.table({"id": numbers, "text": pa.array(texts, pa.string())})
        pq.write_table(table, self.source / name, row_group_size=7)

    def add_task(self, name: str, kind: Any, labels: list[str], seed: int = 0) -> int:
        self.registry.create(name, kind, labels, None)
        head = random_head(len(labels), seed)
        manifest = self.make_manifest(kind=kind, labels=tuple(labels), bits=BITS)
        version = self.registry.add_version(name, manifest, head)
        self.registry.activate(name, version)
        return version

    def __call__(self, encoder: Any = None, engine: Any = None, **options: Any) -> dict[str, Any]:
        known: dict[str, Any] = {"tasks": None, "block_rows": 10}
        asked = Options(str(self.source), str(self.out), **known | options)
        engine = engine or OneProcess(encoder or MadeUp())
        return go(asked, self.settings, engine, lambda begun: lambda rows: None)

    def table(self) -> Any:
        return pq.read_table(self.out)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.glob("block-*.parquet")}

    def verified(self) -> dict[str, Any]:
        return verify(str(self.source), str(self.out))


@pytest.fixture
def run(tmp_path: Path, make_manifest: Callable[..., HeadManifest]) -> Runner:
    return Runner(tmp_path, make_manifest)


def test_each_row_has_one_row_and_the_heads_answers(run: Runner) -> None:
    report = run(codes=True, scores=True)
    rows = run.table().to_pylist()
    asked = [(name, n, text) for name, texts in run.texts.items() for n, text in enumerate(texts)]
    assert [(row["file"], row["row"]) for row in rows] == [(name, n) for name, n, _ in asked]
    head = random_head(2)
    assert isinstance(head, LinearHead)
    for row, (_, _, text) in zip(rows, asked, strict=True):
        if text in BAD:
            assert row["error"]
            assert {
                value for name, value in row.items() if name not in ("file", "row", "error")
            } == {None}
            continue
        assert row["error"] is None
        assert row["key"] == digest_texts("f1", [str(text)])[0].hex()
        code = hashlib.sha256(str(text).encode()).digest()[: BITS // 8]
        assert row["code"] == code
        # The head by hand, over signs.
        signs = 2.0 * np.unpackbits(np.frombuffer(code, dtype=np.uint8)) - 1
        logits = signs @ head.weight + head.bias
        powers = np.exp(logits - logits.max())
        assert row["mood"] == ("low", "high")[int(logits.argmax())]
        assert row["mood_score"] == pytest.approx((powers / powers.sum()).max(), abs=2e-6)
        assert row["topics"] is not None
    assert report["rows"] == 33
    assert report["bad_rows"] == 3
    assert report["encoded"] == 28
    assert report["passes_saved"] == {"cache": 0, "repeats": 2, "sharing": 30}
    assert run.verified()["problems"] == []
    assert run.verified()["rows"] == run.verified()["input_rows"] == 33


def test_a_key_column_and_others_are_copied(run: Runner) -> None:
    run(key_column="id", keep=("text",), prefix="p_")
    table = run.table()
    assert table.column_names[:3] == ["id", "text", "p_key"]
    assert table.column("text").to_pylist() == [t for texts in run.texts.values() for t in texts]
    assert run.verified()["problems"] == []


def test_codes_alone(run: Runner) -> None:
    report = run(tasks=(), codes=True)
    assert run.table().column_names == ["file", "row", "key", "code", "error"]
    assert report["tasks"] == report["passes_saved"]["sharing"] == 0


def test_a_text_over_the_limit_is_cut_or_bad(run: Runner) -> None:
    run()
    assert run.table().column("error").to_pylist()[29] is None
    run(restart=True, truncate=False)
    errors = run.table().column("error").to_pylist()
    assert errors[29] == f"the text is over the limit of {LONG} tokens"
    assert sum(error is not None for error in errors) == 4
    assert run.verified()["problems"] == []


def test_an_input_without_rows_has_columns(run: Runner) -> None:
    for name in run.texts:
        run.write(name, [])
    assert run()["rows"] == 0
    assert "mood" in run.table().column_names
    assert run.verified()["problems"] == []


def test_what_was_cut_off_goes_on_and_ends_in_the_same_bytes(run: Runner) -> None:
    run()
    whole = run.files()
    rows, good = [10, 10, 5, 8], [10, 10, 5, 5]  # of each block
    for cut in range(len(whole)):
        encoder = MadeUp(ends_after=cut)
        with pytest.raises(KeyboardInterrupt):
            run(encoder, restart=True)
        assert len(run.files()) == cut
        report = run(encoder := MadeUp())
        assert run.files() == whole
        assert report["resumed_rows"] == sum(rows[:cut])
        assert len(encoder.asked) == sum(good[cut:])
    again = MadeUp()
    assert run(again)["resumed_rows"] == 33
    assert again.asked == []


def test_a_block_that_is_not_whole_is_done_anew(run: Runner) -> None:
    run()
    whole = run.files()
    (run.out / "block-00000001.parquet").write_bytes(b"half")
    (run.out / RECEIPTS / "00000002.json").unlink()
    (run.out / RECEIPTS / "00000003.json").write_bytes(b"{")
    assert run()["resumed_rows"] == 10
    assert run.files() == whole


def test_another_encoder_is_refused(run: Runner) -> None:
    run()
    for task in ("mood", "topics"):
        run.registry.delete(task)
        run.registry.create(task, "single_label", ["a", "b"], None)
        manifest = run.make_manifest(bits=BITS, encoders={"f2": {}})
        run.registry.activate(task, run.registry.add_version(task, manifest, random_head(2)))
    with pytest.raises(Refused, match="another encoder: f1, now f2; --restart"):
        run(MadeUp("f2"))
    assert run(MadeUp("f2"), restart=True)["resumed_rows"] == 0


def test_heads_of_another_encoder_are_refused(run: Runner) -> None:
    with pytest.raises(Refused, match="is for encoder f1, the running encoder is f2"):
        run(MadeUp("f2"), tasks=("mood",))
    with pytest.raises(Refused, match=r"there is no task to ask: .*f1"):
        run(MadeUp("f2"))
    with pytest.raises(Refused, match="no task 'nothing'"):
        run(tasks=("nothing",))


def test_another_version_is_refused_also_under_the_same_number(run: Runner) -> None:
    run()
    version = run.add_task("mood", "single_label", ["low", "high"], seed=1)
    with pytest.raises(Refused, match=r"task mood was version 1 .*, is version 2"):
        run()
    run.registry.activate("mood", version - 1)
    assert run()["resumed_rows"] == 33
    run.registry.delete("mood")
    assert run.add_task("mood", "single_label", ["low", "high"], seed=2) == 1
    with pytest.raises(Refused, match=r"task mood was version 1 .*, is version 1"):
        run()


def test_another_input_or_question_is_refused(run: Runner) -> None:
    run()
    with pytest.raises(Refused, match="another block rows: 10, now 9"):
        run(block_rows=9)
    run.write("b.parquet", ["other"])
    with pytest.raises(Refused, match=r"b\.parquet has changed"):
        run()
    with pytest.raises(Refused, match=r"b\.parquet has changed"):
        run.verified()


def test_a_folder_with_other_files_is_left_alone(run: Runner) -> None:
    run.out.mkdir()
    (run.out / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="holds other files"):
        run()
    run(restart=True)
    assert (run.out / "mine.txt").read_text() == "mine"


def test_an_output_in_the_input_and_twin_columns_are_refused(run: Runner) -> None:
    run.out = run.source / "out"
    with pytest.raises(Refused, match="the output lies in the input"):
        run()
    run.out = run.source.parent / "out"
    run.add_task("row", "single_label", ["a", "b"])
    with pytest.raises(Refused, match=r"two columns would be called 'row'.*--prefix"):
        run()
    run(key_column="id")


def test_a_block_that_fails_costs_no_other_and_is_named(run: Runner) -> None:
    run.write("b.parquet", ["fine", POISON])
    encoder = MadeUp()
    says = r"1 blocks are not done; the first is rows 0 to 1 of b\.parquet: .*the encoder failed"
    with pytest.raises(NotDone, match=says):
        run(encoder)
    assert len(run.files()) == 3
    assert not (run.out / REPORT).exists()
    encoder.cured = True
    assert run(encoder)["resumed_rows"] == 25
    assert run.verified()["problems"] == []


@dataclasses.dataclass
class Losing:
    """An engine that loses every block but the first of each round, and doubles that one."""

    rounds: int = 0

    def info(self) -> EncoderInfo:
        return MadeUp().info

    def do(self, job: Job, blocks: Sequence[Block]) -> Iterator[Receipt]:
        self.rounds += 1
        worker = Worker(job, MadeUp())  # type: ignore[arg-type]
        for _ in range(2):
            yield worker.do(blocks[0], f"node {self.rounds}")


def test_what_is_lost_is_done_in_another_round(run: Runner) -> None:
    run()
    whole = run.files()
    engine = Losing()
    report = run(engine=engine, restart=True)
    assert engine.rounds == len(whole) == 4
    assert report["rows"] == 33  # the double counts once
    assert run.files() == whole


def test_an_encoder_that_is_not_the_runs_does_no_block(run: Runner) -> None:
    class Mixed(Losing):
        def do(self, job: Job, blocks: Sequence[Block]) -> Iterator[Receipt]:
            Worker(job, MadeUp("f2"))  # type: ignore[arg-type]
            return iter(())

    with pytest.raises(Refused, match=r"has encoder f2 \(cpu, p\), the run's is f1"):
        run(engine=Mixed())


def test_a_price_is_multiplied_by_the_time(run: Runner) -> None:
    report = run(price=36_000.0)
    assert report["cost"] == pytest.approx(10 * report["seconds"], abs=0.6)
    assert json.loads((run.out / REPORT).read_text()) == report


def tampered(run: Runner, change: Callable[[Any], Any]) -> list[str]:
    """What `verify` says of an output whose first block was changed, receipt and all."""
    (block,) = [Block(0, "a.parquet", 0, 10)]
    table = change(pq.read_table(run.out / block.name))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    ledger = Ledger(Folder(str(run.out)))
    receipt = Receipt.from_json((run.out / RECEIPTS / "00000000.json").read_bytes())
    assert receipt is not None
    ledger.commit(block, sink.getvalue(), receipt)
    problems: list[str] = run.verified()["problems"]
    return problems


def test_verify_finds_what_is_lost_doubled_moved_or_made_up(run: Runner) -> None:
    def with_column(table: Any, name: str, values: Any) -> Any:
        place = table.column_names.index(name)
        return table.set_column(place, name, pa.array(values, table.schema.field(name).type))

    run()
    untouched = (run.out / "block-00000000.parquet").read_bytes()
    changes: list[tuple[Callable[[Any], Any], str]] = [
        (lambda t: t.slice(1), "has 9 rows, the input has 10"),
        (lambda t: pa.concat_tables([t, t.slice(9)]), "has 11 rows"),
        (lambda t: t.take([1, 0, *range(2, 10)]), "rows are numbered otherwise"),
        (lambda t: with_column(t, "key", t.column("key").to_pylist()[::-1]), "another text"),
        (lambda t: with_column(t, "error", ["why not"] * 10), "both answer and error"),
        (lambda t: with_column(t, "key", [None] * 10), "neither answer and error"),
        (
            lambda t: with_column(with_column(t, "key", [None] * 10), "error", ["why not"] * 10),
            "is said to be bad",
        ),
    ]
    for change, says in changes:
        run(restart=True)
        assert any(says in problem for problem in tampered(run, change)), says
    run(restart=True)
    (run.out / "block-00000000.parquet").write_bytes(untouched[::-1])
    assert run.verified()["problems"] == ["block-00000000.parquet is not what was written"]
    (run.out / "block-00000000.parquet").unlink()
    (run.out / "block-00000077.parquet").write_bytes(untouched)
    assert run.verified()["problems"] == [
        "block-00000077.parquet belongs to no block",
        "block-00000000.parquet is not done",
    ]
