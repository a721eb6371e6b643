"""Make a task folder of a Hugging Face data set, by name where the hub can be reached.

    python -m models.training.fetch NAME --out DATA --task my_task --text sentence --label label
    python -m models.training.fetch csv --files train=a.csv test=b.csv --out DATA --task my_task

NAME is what `datasets.load_dataset` takes: a name on the hub, a folder, or `csv`, `json` and
`parquet` with files. DATA gets `my_task/` in the layout that everything here trains from: the
training rows shuffled; what lacks a validation or a test split gets a tenth of the training rows
for each; a text that is in test is not in validation, one that is in either not in train.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.training.datasets import SPLITS, Split

Row = tuple[str, str]  # text and the name of its label
SHARE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--config")
    parser.add_argument("--files", nargs="*", default=[], metavar="SPLIT=FILE")
    parser.add_argument("--text", nargs="+", default=["text"], help="several are joined by a line")
    parser.add_argument("--label", default="label")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    files = dict(one.split("=", 1) for one in arguments.files)
    try:
        found, licence = read_rows(
            arguments.name, arguments.config, files, arguments.text, arguments.label
        )
        splits = split_rows(found, arguments.seed)
        meta = {"source": arguments.name, "config": arguments.config, "license": licence}
        write_task(arguments.out / arguments.task, splits, meta)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    print(json.dumps({split: len(rows) for split, rows in splits.items()}))


def read_rows(
    name: str, config: str | None, files: Mapping[str, str], texts: Sequence[str], label: str
) -> tuple[dict[str, list[Row]], str]:
    """The labelled rows of a data set by split, and the licence that it states.

    Args:
        name: what `datasets.load_dataset` takes.
        config: of the data set.
        files: by split, for `csv`, `json` and `parquet`.
        texts: columns; several are joined by a line break.
        label: column of class indexes or names. Rows without a label (-1 or nothing) are left out.

    Raises:
        ValueError: there is no such data set, or a column is missing.
    """
    import datasets

    try:
        whole = datasets.load_dataset(name, config, data_files=dict(files) or None)
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"cannot load {name}: {error}") from error
    found: dict[str, list[Row]] = {}
    licence = ""
    for split, part in whole.items():
        licence = licence or part.info.license or ""
        missing = {*texts, label} - set(part.column_names)
        if missing:
            raise ValueError(f"{name} has no column {min(missing)!r}, but {part.column_names}")
        feature = part.features[label]
        named = getattr(feature, "int2str", str)
        found[str(split)] = [
            ("\n".join(str(row[text]) for text in texts), named(row[label]))
            for row in part.select_columns([*texts, label])
            if row[label] not in (None, -1, "")
        ]
    return found, licence or "unstated"


def split_rows(found: Mapping[str, Sequence[Row]], seed: int) -> dict[Split, list[Row]]:
    """Train, validation and test, none of which holds a text of a later one; train is shuffled.

    Args:
        found: rows by split as the data set has them; `train` at least.
        seed: of the shuffle, and of what is set aside.

    Raises:
        ValueError: there is no training split, or a split comes out empty.
    """
    if "train" not in found:
        raise ValueError(f"there is no split named train, but {', '.join(found) or 'none'}")
    order = np.random.default_rng(seed).permutation(len(found["train"]))
    train = [found["train"][row] for row in order]
    splits: dict[Split, list[Row]] = {"train": train}
    for split in ("validation", "test"):
        if split in found:
            splits[split] = list(found[split])
        else:
            aside = round(len(found["train"]) * SHARE)
            splits[split], splits["train"] = splits["train"][:aside], splits["train"][aside:]
    taken: set[str] = set()
    for split in reversed(SPLITS):
        splits[split] = [row for row in splits[split] if _plain(row[0]) not in taken]
        taken |= {_plain(text) for text, _ in splits[split]}
        if not splits[split]:
            raise ValueError(f"no row is left for {split}")
    return splits


def write_task(
    folder: Path, splits: Mapping[Split, Sequence[Row]], meta: Mapping[str, Any]
) -> None:
    """Write the files that `models.training.datasets` reads.

    Raises:
        FileExistsError: the folder is there.
    """
    names = sorted({label for rows in splits.values() for _, label in rows})
    index = {name: number for number, name in enumerate(names)}
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        with gzip.open(folder / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            for text, label in rows:
                line = {"text": text, "label": index[label]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    sizes = {f"n_{split}": len(rows) for split, rows in splits.items()}
    about = {"name": folder.name, "label_names": names, **meta, **sizes}
    (folder / "meta.json").write_text(json.dumps(about, indent=1) + "\n")


def _plain(text: str) -> str:
    """What two texts must share to be taken for one."""
    return " ".join(text.lower().split())


if __name__ == "__main__":
    main()
