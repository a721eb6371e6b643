"""Multi-task training on a tiny backbone: it learns, and a stopped run ends like one in one go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.training.encoder.averages import Averages
from models.training.encoder.batches import pad
from models.training.encoder.embedder import Embedder, trained, untrained
from models.training.encoder.heads_first import fit_heads
from models.training.encoder.loop import BEST, LOG, Plan, Trainer, TrainingTask
from models.training.encoder.model import Design, MultiTaskEncoder
from models.training.encoder.suite import Rows, TaskData
from models.training.encoder.train import encoder_for, teach, tokenize
from tests.unit.tiny import words, write_bert

PLAN = Plan(
    steps=30,
    texts=16,
    at_once=8,
    rate=1e-3,
    head_rate=3e-2,
    max_tokens=16,
    check_every=10,
    train_rows=60,
    validation_rows=30,
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("tiny") / "bert")


def task(name: str, classes: int, seed: int) -> TaskData:
    """A text's first word tells its class."""
    chance = np.random.default_rng(seed)

    def rows(count: int) -> Rows:
        targets = chance.integers(classes, size=count)
        texts = [
            words(1, int(target))
            + " "
            + words(int(chance.integers(2, 9)), int(chance.integers(60)))
            for target in targets
        ]
        return Rows(texts, targets.astype(np.int64))

    labels = tuple(f"label {number}" for number in range(classes))
    return TaskData(name, labels, {"train": rows(60), "validation": rows(30)})


def tokenized(backbone: Path, cache: Path, plan: Plan = PLAN) -> list[TrainingTask]:
    done = []
    for number, classes in enumerate((2, 3)):
        one = task(f"task {number}", classes, number)
        texts = one.splits["train"].texts
        teacher = Embedder(untrained(str(backbone)), cache, plan.max_tokens)
        taught = teach(texts, [teacher]) if plan.keep else None
        done.append(tokenize(one, taught, Design(str(backbone)), plan))
    return done


def design(backbone: Path, **fields: object) -> Design:
    return replace(Design(str(backbone), layers=(-2, -1)), **fields)  # type: ignore[arg-type]


def trainer_of(form: Design, plan: Plan, tasks: list[TrainingTask], out: Path) -> Trainer:
    return Trainer(encoder_for(form, tasks, plan.seed), plan, tasks, pad, out)


def log_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_it_learns_and_its_best_weights_load(backbone: Path, tmp_path: Path) -> None:
    tasks = tokenized(backbone, tmp_path / "cache")
    trainer = trainer_of(design(backbone, noise=0.0), replace(PLAN, steps=120), tasks, tmp_path)
    trainer.run()
    lines = log_of(tmp_path)
    losses = [line["losses"] for line in lines if "losses" in line]
    assert np.mean(losses[-1]) < 0.8 * np.mean(losses[0])  # type: ignore[arg-type]
    scores = [line["tasks"] for line in lines if "tasks" in line][-1]
    assert scores["task 0"] > 0.8  # type: ignore[index]
    assert scores["task 1"] > 0.6  # type: ignore[index]

    loaded = trained(tmp_path / BEST)
    saved = load_file(tmp_path / BEST / "encoder.safetensors")
    for name, value in loaded.state_dict().items():
        if not name.startswith("backbone.embeddings."):
            assert torch.equal(value, saved[name])
    about = json.loads((tmp_path / BEST / "about.json").read_text())
    assert about["tasks"] == ["task 0", "task 1"]


@pytest.mark.parametrize("bits", [None, 24])
def test_a_stopped_run_ends_like_one_in_one_go(
    backbone: Path, tmp_path: Path, bits: int | None
) -> None:
    tasks = tokenized(backbone, tmp_path / "cache")
    # With averages, which a checkpoint holds too.
    plan = replace(PLAN, steps=20, average=0.9)
    # No dropout: its random numbers are not part of a checkpoint.
    form = design(backbone, noise=0.0, bits=bits)
    whole = trainer_of(form, plan, tasks, tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    whole.run()

    (tmp_path / "parts").mkdir()
    first = trainer_of(form, plan, tasks, tmp_path / "parts")
    batches = first._batches()
    for _ in range(10):
        first._update(next(batches))
        first.step += 1
    first._check()
    second = trainer_of(form, plan, tasks, tmp_path / "parts")
    second.run()
    assert {"step": 10, "resumed": 10} in log_of(tmp_path / "parts")
    for (name, value), other in zip(
        whole.model.state_dict().items(), second.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, msg=name)
    ends = [
        load_file(tmp_path / part / BEST / "encoder.safetensors") for part in ("whole", "parts")
    ]
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], msg=name)


def test_word_vectors_and_frozen_layers_stay(backbone: Path, tmp_path: Path) -> None:
    tasks = tokenized(backbone, tmp_path / "cache")
    trainer = trainer_of(design(backbone, frozen_layers=1), replace(PLAN, steps=2), tasks, tmp_path)
    before = {name: value.clone() for name, value in trainer.model.backbone.state_dict().items()}
    trainer.run()
    changed = {
        name
        for name, value in trainer.model.backbone.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert any(name.startswith("encoder.layer.1.") for name in changed)
    assert not any(name.startswith(("embeddings.", "encoder.layer.0.")) for name in changed)


def test_early_stopping(backbone: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, steps=1000, rate=0.0, head_rate=0.0, check_every=1, patience=3, keep=0.0)
    trainer_of(design(backbone), plan, tokenized(backbone, tmp_path, plan), tmp_path).run()
    assert log_of(tmp_path)[-1] == {"step": 4, "ended": "no better validation"}


def test_losses_are_one_at_chance(backbone: Path, tmp_path: Path) -> None:
    """Heads start at zero: every class alike, whatever their number; the teacher has variance 1."""
    tasks = tokenized(backbone, tmp_path)
    trainer = trainer_of(design(backbone), PLAN, tasks, tmp_path)
    rows = [(number, row) for number in (0, 1) for row in range(8)]
    with torch.no_grad():
        on_floats, on_bits, kept = (float(loss) / 16 for loss in trainer._losses(rows))
    assert on_floats == pytest.approx(1, abs=1e-5)
    assert on_bits == pytest.approx(1, abs=1e-5)
    assert kept == pytest.approx(1, abs=0.5)


def test_the_teacher_is_asked_once(backbone: Path, tmp_path: Path) -> None:
    texts = [words(3), words(5, 2)]
    own, shorter = (Embedder(untrained(str(backbone)), tmp_path, limit) for limit in (16, 8))
    first = teach(texts, [own])
    (path,) = tmp_path.iterdir()
    np.save(path, np.zeros_like(first))
    assert not teach(texts, [own]).any()
    both = teach(texts, [own, shorter])  # another limit, other embeddings
    assert both.shape == (2, 64)
    assert both[:, 32:].any()


def test_a_code_is_the_sign_of_the_standardized_floats(backbone: Path) -> None:
    model = MultiTaskEncoder(design(backbone), {"a": 2}).eval()
    ids = torch.randint(4, 60, (3, 7))
    floats, bits = model(ids, torch.ones_like(ids))
    assert floats.shape == bits.shape == (3, 64)
    assert torch.equal(bits, torch.where(floats > 0, 1.0, -1.0))


def test_an_annealed_code_is_soft_in_training_alone(backbone: Path) -> None:
    model = MultiTaskEncoder(design(backbone, estimator="annealed"), {"a": 2})
    ids = torch.randint(4, 60, (3, 7))
    model.sharpness = 2.0
    floats, soft = model.train()(ids, torch.ones_like(ids))
    torch.testing.assert_close(soft, torch.tanh(2 * floats))
    _, hard = model.eval()(ids, torch.ones_like(ids))
    assert set(hard.unique().tolist()) == {-1.0, 1.0}


def test_heads_first_leave_the_backbone_and_start_the_training_well(
    backbone: Path, tmp_path: Path
) -> None:
    """Fitted on embeddings of another origin, the heads read the backbone's own dimensions."""
    plan = replace(PLAN, head_steps=150)
    form = design(backbone, layers=(-2, -1), noise=0.0)
    tasks = tokenized(backbone, tmp_path / "cache", plan)
    model = encoder_for(form, tasks, plan.seed).eval()
    with torch.inference_mode():
        taught = [
            np.concatenate([model.pooled(*pad([row])).numpy() for row in task.train]) - 3.0
            for task in tasks
        ]
    tasks = [
        replace(task, taught=embeddings.astype(np.float16))
        for task, embeddings in zip(tasks, taught, strict=True)
    ]
    model = encoder_for(form, tasks, plan.seed)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    fit_heads(model, tasks, plan, pad)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    model.eval()
    for task in tasks:
        with torch.inference_mode():
            _, bits = model(*pad(task.train))
            guess = model.logits(task.name, bits).argmax(dim=1).numpy()
        # A head alone fits most of its rows; majority gives half or a third.
        assert (guess == task.targets).mean() > 0.75

    wide = encoder_for(design(backbone, layers=(-2, -1, -1)), tasks, plan.seed)
    with pytest.raises(ValueError, match="embeddings 96 wide of all tasks"):
        fit_heads(wide, tasks, plan, pad)


def test_other_teachers_are_kept_beside_the_encoders_own_embeddings(
    backbone: Path, tmp_path: Path
) -> None:
    """Heads read the first columns, which are its own; the regression is to all of them."""
    plan = replace(PLAN, head_steps=20, steps=10)
    form = design(backbone, layers=(-1,), noise=0.0)
    chance = np.random.default_rng(0)
    tasks = []
    for one in tokenized(backbone, tmp_path / "cache", plan):
        assert one.taught is not None
        other = chance.normal(size=(len(one.train), 5)).astype(np.float16)
        tasks.append(replace(one, taught=np.concatenate([one.taught, other], axis=1)))
    model = encoder_for(form, tasks, plan.seed)
    assert model.to_teacher is not None
    assert model.to_teacher.out_features == 37
    fit_heads(model, tasks, plan, pad)
    Trainer(model, plan, tasks, pad, tmp_path, quiet=True).run()
    assert trained(tmp_path / BEST).width == 32


def test_all_heads_at_once_are_each_tasks_cross_entropy(backbone: Path) -> None:
    """Against torch's, a task at a time."""
    model = MultiTaskEncoder(design(backbone), {"two": 2, "three": 3, "seven": 7})
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight)  # type: ignore[arg-type]
        torch.nn.init.normal_(head.bias)  # type: ignore[arg-type]
    values = torch.randn(9, 64)
    tasks = torch.tensor([0, 1, 2, 2, 1, 0, 0, 2, 1])
    targets = torch.tensor([1, 2, 6, 0, 0, 0, 1, 3, 1])
    found = model.losses(values, tasks, targets)
    for row, (name, classes) in enumerate(
        (list({"two": 2, "three": 3, "seven": 7}.items()))[task] for task in tasks.tolist()
    ):
        logits = model.logits(name, values[row : row + 1])
        expected = torch.nn.functional.cross_entropy(logits, targets[row : row + 1])
        torch.testing.assert_close(found[row], expected / np.log(classes))
    found.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.heads.parameters() if p.grad is not None)


def test_averages_are_those_of_the_steps_and_are_put_in_for_a_while() -> None:
    """Against numpy: the mean of all steps at first, exponential weights then."""
    network = torch.nn.Linear(3, 2)
    averages = Averages(network, 0.6)
    expected, weights = None, []
    for step in range(1, 8):
        with torch.no_grad():
            network.weight.copy_(torch.randn(2, 3))
        averages.update()
        weights.append(network.weight.detach().numpy().copy())
        share = min(0.6, 1 - 1 / step)
        expected = weights[-1] if expected is None else share * expected + (1 - share) * weights[-1]
    assert expected is not None
    with averages.put_in():
        np.testing.assert_allclose(network.weight.detach().numpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal(network.weight.detach().numpy(), weights[-1])
    again = Averages(network, 0.6)
    again.load(averages.state())
    with again.put_in():
        np.testing.assert_allclose(network.weight.detach().numpy(), expected, rtol=1e-5)
