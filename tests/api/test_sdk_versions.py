"""The client on versions, against the real service: files, shadows, backfills, a new encoder."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from polyhead import AsyncClient, BadRequest, Client, Conflict, NotFound

from app.schemas import VersionSettings
from app.tasks.head_file import read_head_file, write_head_file
from tests.api.test_tasks import name, rows
from tests.conftest import ROOT, ServiceProcess

OTHER_ENCODER = "0f" * 16


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture
def task(client: Client) -> Iterator[str]:
    """A task with two versions, the first active."""
    task = name()
    for seed in (301, 302):
        examples = [(row["text"], row["label"]) for row in rows(40, seed=seed)]
        client.tasks.train(task, examples, wait=True)
    yield task
    client.tasks.delete(task)


def of_another_encoder(file: bytes) -> bytes:
    """The file of a head as one of an encoder that does not run."""
    held = read_head_file(file)
    manifest = replace(held.manifest, encoders={OTHER_ENCODER: {}})
    return write_head_file(manifest, held.head, VersionSettings(), held.rows)


def test_a_version_is_exported_imported_and_deleted(client: Client, task: str) -> None:
    file = client.tasks.export_version(task, 2, rows=True)
    assert len(file) > len(client.tasks.export_version(task, 2))
    copy = client.tasks.import_version(task, file)
    assert (copy.version, copy.active) == (3, False)
    assert copy.report == client.tasks.version(task, 2).report
    assert client.tasks.import_version(task, file, activate=True).active
    with pytest.raises(Conflict):
        client.tasks.delete_version(task, 4)
    client.tasks.delete_version(task, 2)
    with pytest.raises(NotFound):
        client.tasks.version(task, 2)
    with pytest.raises(BadRequest):
        client.tasks.import_version(task, file[:-1])


def test_a_shadow_is_followed(client: Client, task: str) -> None:
    assert client.tasks.shadow(task, 2).texts == 0
    texts = [row["text"] for row in rows(30, seed=303)]
    client.predict(texts, [task])
    deadline = time.monotonic() + 30
    while (report := client.tasks.shadow_report(task)).texts < 30:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert report.rate is not None
    assert report.disagreements == round(report.rate * 30)
    assert client.tasks.get(task).shadow_version == 2
    client.tasks.end_shadow(task)
    with pytest.raises(NotFound):
        client.tasks.shadow_report(task)


def test_a_backfill_becomes_a_file(client: Client, task: str, tmp_path: Path) -> None:
    asked = client.predict([row["text"] for row in rows(30, seed=304)], [task])
    path = tmp_path / "answers.jsonl"
    done = client.tasks.backfill(task, path, tasks=["sentiment"])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == done.texts >= 30
    found = {line["key"]: line["predictions"] for line in lines}
    for result in asked:
        assert found[result.key][task]["label"] == result[task].label
        assert found[result.key]["sentiment"]["label"]
    table = tmp_path / "answers.parquet"
    assert client.tasks.backfill(task, table, tasks=["sentiment"]).encoded == 0
    keys = [json.loads(line)["key"] for line in path.read_text().splitlines()]
    assert set(pq.read_table(table)["key"].to_pylist()) == set(keys)
    with pytest.raises(NotFound):
        client.tasks.backfill(task, tmp_path / "none.jsonl", version=9)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["answers.jsonl", "answers.parquet"]


async def test_the_async_client_does_the_same(
    service: ServiceProcess, task: str, tmp_path: Path
) -> None:
    async with AsyncClient(service.url) as client:
        file = await client.tasks.export_version(task, 1)
        assert (await client.tasks.import_version(task, file)).version == 3
        assert (await client.tasks.shadow(task, 3)).version == 3
        assert (await client.tasks.shadow_report(task)).active_version == 1
        await client.tasks.end_shadow(task)
        await client.tasks.delete_version(task, 3)
        done = await client.tasks.backfill(task, tmp_path / "answers.jsonl", version=2)
        assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == done.texts
        with pytest.raises(NotFound):
            await client.tasks.backfill(name(), tmp_path / "none.jsonl")
        assert task not in [one.task for one in await client.tasks.outdated()]


def test_one_command_after_a_change_of_encoder(
    client: Client, service: ServiceProcess, tmp_path: Path
) -> None:
    kept, lost = name(), name()
    examples = [(row["text"], row["label"]) for row in rows(40, seed=305)]
    client.tasks.train(kept, examples, class_weight="balanced", seed=7, wait=True)
    file = of_another_encoder(client.tasks.export_version(kept, 1))
    client.tasks.delete(kept)
    for task in (kept, lost):
        client.tasks.import_version(task, file)
        with pytest.raises(Conflict):
            client.predict("a ripe pear", [task])
    outdated = {one.task: one for one in client.tasks.outdated()}
    assert outdated.keys() == {kept, lost}
    assert outdated[kept].encoder == OTHER_ENCODER
    assert outdated[kept].options["class_weight"] == "balanced"

    with (tmp_path / f"{kept}.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *examples])

    def run(*more: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
        command = [sys.executable, "-m", "polyhead", *before, "retrain", str(tmp_path), *more]
        done = subprocess.run(
            command,
            env={**os.environ, "POLYHEAD_URL": service.url, "PYTHONPATH": str(ROOT / "sdk")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    status, said = run("--list")
    assert (status, len(client.tasks.outdated())) == (1, 2)
    assert f"{kept}: would be trained on" in said
    status, said = run()
    assert status == 1
    assert f"{kept}: version 2 answers, accuracy" in said
    assert f"{lost}: needs its texts as" in said
    assert client.predict("a ripe pear", [kept])[0][kept].version == 2
    options = client.tasks.version(kept, 2).report
    assert options is not None
    assert options.test_source == "cross_validated"
    client.tasks.delete(lost)
    assert run() == (0, "no head is outdated\n")
    assert run(before=("--url", "http://127.0.0.1:9"))[0] == 3
    client.tasks.delete(kept)
