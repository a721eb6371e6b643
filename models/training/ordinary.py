"""Ordinary texts: what thresholds and int8 scales are measured on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.training.datasets import read_split

# Tasks whose licence is stated, of different kinds of text.
TASKS = (
    "banking77",
    "clinc150",
    "goemotions",
    "stackoverflow_sentiment",
    "davidson_hate",
    "clickbait",
    "humour_short_texts",
    "csabstruct",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the texts come from: the tasks above, or a file of the user's own."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of tasks")
    source.add_argument("--texts", type=Path, help="a text a line, of the kinds that will come")


def ordinary_texts(arguments: argparse.Namespace, rows_each: int) -> list[str]:
    """So many training rows of each task, or as many lines of the file.

    Raises:
        ValueError: the file has no text.
    """
    if arguments.texts is None:
        return [
            text
            for task in TASKS
            for text in read_split(arguments.data, task, "train").texts[:rows_each]
        ]
    lines = arguments.texts.read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"{arguments.texts} has no texts")
    return texts[: rows_each * len(TASKS)]


def described(
    arguments: argparse.Namespace, rows_each: int, texts: Sequence[str]
) -> dict[str, Any]:
    """For a manifest: what these `ordinary_texts` are of."""
    if arguments.texts is None:
        return {"tasks": list(TASKS), "rows_each": rows_each}
    return {"texts": len(texts)}
