"""Small students of a backbone: their first weights, and what they learn before any task.

Source: DistilBERT (Sanh et al., 2019) starts a student from its teacher's layers and distils it
over plain text; TinyBERT (Jiao et al., 2020) distils over plain text first and over the task then.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertModel

from models.tokens import Ids
from models.training.encoder.classifier import TextClassifier, load_backbone
from models.training.encoder.cost import TransformerShape
from models.training.encoder.fitting import FitPlan, Loss, Rows, fit

ABOUT = "general.json"  # written last: a folder with it is done
SCALE_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Student:
    """A student's shape, and the rate that its backbone learns at: narrow ones bear higher."""

    shape: TransformerShape
    rate: float


STUDENTS = {
    "3x384": Student(TransformerShape(3, 384, 1536), 3e-4),
    "2x192": Student(TransformerShape(2, 192, 768), 1e-3),
}


def build_student(shape: TransformerShape, backbone: Path) -> Any:
    """A student with its first weights from a BERT, the width of attention heads included.

    One as wide as the backbone gets its lookup tables and evenly spaced layers of it, the first and
    the last among them. Layers cannot be copied to a narrower one: its lookup tables are the
    backbone's on the principal axes of the word vectors, its layers random.

    Args:
        shape: at most as deep and as wide as the backbone.
        backbone: folder of the pretrained weights.

    Raises:
        ValueError: it is larger than the backbone, or attention heads do not divide its width.
    """
    source = load_backbone(backbone)
    config = copy.deepcopy(source.config)
    head_width = config.hidden_size // config.num_attention_heads
    if shape.layers > config.num_hidden_layers or shape.hidden > config.hidden_size:
        raise ValueError(f"{shape} is larger than its backbone")
    if shape.hidden % head_width:
        raise ValueError(f"{shape.hidden} dimensions are no whole heads of {head_width}")
    copies = (shape.hidden, shape.inner) == (config.hidden_size, config.intermediate_size)
    chosen = spaced_layers(config.num_hidden_layers, shape.layers)
    config.num_hidden_layers = shape.layers
    config.hidden_size = shape.hidden
    config.intermediate_size = shape.inner
    config.num_attention_heads = shape.hidden // head_width
    config._attn_implementation = "eager"
    student: Any = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    if copies:
        student.embeddings.load_state_dict(source.embeddings.state_dict())
        for layer, number in zip(student.encoder.layer, chosen, strict=True):
            layer.load_state_dict(source.encoder.layer[number].state_dict())
    else:
        _narrow(source.embeddings, student.embeddings)
    return student


def spaced_layers(layers: int, count: int) -> list[int]:
    """`count` of `layers` numbers, evenly spaced, the first and the last among them."""
    return [int(number) for number in np.linspace(0, layers - 1, count)]


def principal_axes(table: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The `width` orthonormal directions of most variance of `(n, d)` rows: `(d, width)`."""
    centred = table - table.mean(axis=0)
    # Eigenvalues ascend.
    _, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    return np.ascontiguousarray(vectors[:, ::-1][:, :width]).astype(np.float32)


@torch.no_grad()
def _narrow(source: Any, target: Any) -> None:
    words = source.word_embeddings.weight
    axes = torch.from_numpy(principal_axes(words.numpy(), target.word_embeddings.weight.shape[1]))
    target.word_embeddings.weight.copy_((words - words.mean(dim=0)) @ axes)
    target.position_embeddings.weight.copy_(source.position_embeddings.weight @ axes)
    target.token_type_embeddings.weight.copy_(source.token_type_embeddings.weight @ axes)


def distill_generally(
    student: Student,
    backbone: Path,
    rows: Sequence[Ids],
    embeddings: Sequence[NDArray[np.float16]],
    plan: FitPlan,
    folder: Path,
) -> TextClassifier:
    """Teach a student the backbone's embeddings of plain texts, once for all tasks.

    Args:
        student: see `Student`.
        backbone: folder of the pretrained weights.
        rows: token ids of the texts.
        embeddings: `(width,)` of each text.
        plan: see `FitPlan`; the rate is the student's own.
        folder: gets the student as a Hugging Face folder.

    Returns:
        The student with its regression to the embeddings, which the folder does not have.
    """
    torch.manual_seed(plan.seed)
    network = TextClassifier(build_student(student.shape, backbone), len(embeddings[0]))
    fitted = fit(network, rows, regression_loss(embeddings), replace(plan, rate=student.rate))
    shutil.rmtree(folder, ignore_errors=True)
    network.backbone.to("cpu").save_pretrained(folder)
    shutil.copyfile(backbone / "tokenizer.json", folder / "tokenizer.json")
    about = {
        "shape": asdict(student.shape),
        "texts": len(rows),
        "parameters": sum(p.numel() for p in network.backbone.parameters()),
        "seconds": round(fitted.seconds, 1),
    }
    (folder / ABOUT).write_text(json.dumps(about) + "\n")
    print(json.dumps({"student": folder.name, **about}), flush=True)
    return network


def is_done(folder: Path) -> bool:
    """Whether a student's folder is complete."""
    return (folder / ABOUT).is_file()


def regression_loss(embeddings: Sequence[NDArray[np.float16]]) -> Loss:
    """Mean square over dimensions of unit variance, summed over rows."""
    some = np.stack(embeddings[:: -(-len(embeddings) // SCALE_ROWS)]).astype(np.float32)
    mean, deviation = some.mean(axis=0), some.std(axis=0) + 1e-6

    def loss(outputs: Tensor, rows: Rows) -> Tensor:
        raw = np.stack([embeddings[row] for row in rows]).astype(np.float32)
        wanted = torch.from_numpy((raw - mean) / deviation).to(outputs.device)
        return (outputs - wanted).square().mean(dim=1).sum()

    return loss
