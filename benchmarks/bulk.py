"""Bulk work on a Ray cluster of this machine against the same in one process.

    python -m benchmarks.bulk --data FOLDER [--rows 200000] [--nodes 3] [--no-kill]

Both encode all of it, each with an empty Valkey of its own. A node is killed when half of the
output is there. Then the two outputs are compared byte by byte, and with the input row by row.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import print_result
from benchmarks.ray_cluster import ENVIRONMENT, ray_cluster
from benchmarks.texts import SHORT
from benchmarks.valkey import valkey
from bulk.verify import verify
from models.training.datasets import read_split

# Beside the short ones of the other benchmarks, which are not enough.
MORE = ("snips", "clinc150", "trec50", "sms_spam", "liar", "subj", "tweeteval_sentiment")
FILES = 4
BAD_EVERY = 997  # one row in so many has no text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--block-rows", type=int, default=2_000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--no-kill", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        distinct = write_input(folder / "in", arguments.rows, arguments.data)
        blocks = ["--block-rows", str(arguments.block_rows)]
        single = in_one_process(folder, blocks)
        print("single:", json.dumps(single), flush=True)
        on_ray = on_a_cluster(folder, blocks, arguments.nodes, kill=not arguments.no_kill)
        print("ray:", json.dumps(on_ray), flush=True)
        result = {
            "rows": arguments.rows,
            "distinct_texts": distinct,
            "nodes": arguments.nodes,
            "single": single,
            "ray": on_ray,
            "ray_seconds_over_single": round(on_ray["seconds"] / single["seconds"], 3),
            "files_equal": equal_files(folder / "single", folder / "ray"),
            "verified": verify(str(folder / "in"), str(folder / "ray")),
        }
    print_result("bulk", result)


def write_input(folder: Path, rows: int, data: Path) -> int:
    """A data set of real texts in some files; how many of them are distinct.

    Where there are not enough, they come again with a number.
    """
    found = short_texts(data, rows)
    texts: list[str | None] = list(found[:rows])
    for number in range(len(texts), rows):
        texts.append(f"{found[number % len(found)]} ({number // len(found)})")
    texts[::BAD_EVERY] = [None] * len(texts[::BAD_EVERY])
    folder.mkdir()
    size = -(-rows // FILES)
    for file in range(FILES):
        part = pa.table({"text": pa.array(texts[file * size : (file + 1) * size], pa.string())})
        pq.write_table(part, folder / f"part-{file}.parquet", row_group_size=20_000)
    return len(set(texts) - {None})


def short_texts(data: Path, most: int) -> list[str]:
    columns = [
        text
        for split in ("test", "train")
        for row in zip_longest(*(read_split(data, task, split).texts for task in SHORT + MORE))
        for text in row
        if text is not None and not text.isspace() and text
    ]
    return list(dict.fromkeys(columns))[:most]


def in_one_process(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    with valkey(None) as server:
        process = start(folder, "single", server.url, ["--single", *options])
        return ended(process)


def on_a_cluster(folder: Path, options: Sequence[str], nodes: int, *, kill: bool) -> dict[str, Any]:
    with valkey(None) as server, ray_cluster(nodes) as cluster:
        process = start(folder, "ray", server.url, ["--address", cluster.address, *options])
        killed: dict[str, Any] = {}
        if kill:
            total = sum(1 for _ in (folder / "single").glob("block-*.parquet"))
            began = time.monotonic()
            while process.poll() is None and not killed:
                done = sum(1 for _ in (folder / "ray").glob("block-*.parquet"))
                if done >= total / 2:
                    cluster.kill_node()
                    killed = {
                        "killed_at_block": done,
                        "killed_at_s": round(time.monotonic() - began, 1),
                    }
                time.sleep(0.2)
        return ended(process) | killed


def start(folder: Path, name: str, redis_url: str, options: Sequence[str]) -> subprocess.Popen[str]:
    """A run over the input into the folder `name`."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("POLYHEAD_")}
    return subprocess.Popen(
        [sys.executable, "-m", "bulk", "predict", str(folder / "in"), str(folder / name), *options],
        env={
            **known,
            **ENVIRONMENT,
            "REDIS_URL": redis_url,
            "POLYHEAD_DATA_DIR": str(folder / "data"),
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The report of a run that ends well."""
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run ended with {process.returncode}")
    report: dict[str, Any] = json.loads(out)
    del report["out"]
    return report


def equal_files(one: Path, other: Path) -> bool:
    """Whether two outputs have the same blocks, byte by byte, of the same run."""
    names = [sorted(path.name for path in out.glob("block-*.parquet")) for out in (one, other)]
    return names[0] == names[1] and all(
        (one / name).read_bytes() == (other / name).read_bytes()
        for name in [*names[0], "_run.json"]
    )


if __name__ == "__main__":
    main()
