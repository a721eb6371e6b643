"""models.training.encoder.students, finetune and distill, against numpy and scikit-learn."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import log_softmax, softmax
from sklearn.decomposition import PCA
from transformers import AutoModel

from models.training.encoder import distill as module
from models.training.encoder import finetune as finetuning
from models.training.encoder.classifier import RowLimits, TextClassifier, load_backbone, read_task
from models.training.encoder.cost import TransformerShape
from models.training.encoder.distill import Softness, distill, distillation_loss
from models.training.encoder.finetune import best_teacher, finetune, logits_path
from models.training.encoder.fitting import Fit, FitPlan, outputs_of
from models.training.encoder.students import (
    Student,
    build_student,
    distill_generally,
    is_done,
    principal_axes,
    regression_loss,
    spaced_layers,
)
from tests.unit.tiny import FIRST_WORD, VOCABULARY, WORDS, write_bert

PLAN = FitPlan(epochs=2, least_steps=0, texts=8, at_once=4, rate=3e-3, head_rate=1e-2)
LIMITS = RowLimits(train_rows=24, validation_rows=12, test_rows=12)
WIDE, NARROW = TransformerShape(1, 32, 48), TransformerShape(1, 16, 24)


def loss_by_numpy(
    student: NDArray[Any], teacher: NDArray[Any], targets: NDArray[Any], softness: Softness
) -> float:
    temperature = softness.temperature
    wanted, guess = teacher / temperature, student / temperature
    difference = log_softmax(wanted, axis=1) - log_softmax(guess, axis=1)
    soft = temperature**2 * (softmax(wanted, axis=1) * difference).sum()
    hard = -log_softmax(student, axis=1)[np.arange(len(targets)), targets].sum()
    return float(softness.share * soft + (1 - softness.share) * hard)


class TestLoss:
    @given(st.integers(1, 6), st.integers(2, 9), st.floats(0.5, 8), st.floats(0, 1), st.integers(0))
    def test_against_numpy(
        self, rows: int, classes: int, temperature: float, share: float, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        student, teacher = random.normal(0, 3, (2, rows, classes))
        targets = random.integers(0, classes, rows)
        softness = Softness(temperature, share)
        got = distillation_loss(*map(torch.from_numpy, (student, teacher, targets)), softness)
        assert float(got) == pytest.approx(loss_by_numpy(student, teacher, targets, softness))

    def test_gradients_flow_to_the_student_alone(self) -> None:
        student = torch.randn(4, 3, requires_grad=True)
        teacher = torch.randn(4, 3, requires_grad=True)
        targets = torch.tensor([0, 1, 2, 0])
        distillation_loss(student, teacher, targets, Softness()).backward()
        assert teacher.grad is None
        assert student.grad is not None
        # By hand: T (softmax(student/T) - softmax(teacher/T)), and softmax(student) - one-hot.
        ours, theirs = student.detach().numpy(), teacher.detach().numpy()
        soft = 2.0 * (softmax(ours / 2.0, axis=1) - softmax(theirs / 2.0, axis=1))
        hard = softmax(ours, axis=1) - np.eye(3)[targets]
        np.testing.assert_allclose(student.grad.numpy(), 0.7 * soft + 0.3 * hard, atol=1e-5)

    def test_no_loss_where_the_student_guesses_as_the_teacher(self) -> None:
        logits, targets = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
        assert float(distillation_loss(logits, logits, targets, Softness(3.0, 1.0))) == (
            pytest.approx(0, abs=1e-5)
        )


class TestFirstWeights:
    def test_a_wide_student_copies_tables_and_spaced_layers(self, tmp_path: Path) -> None:
        folder = write_bert(tmp_path / "deep", num_hidden_layers=5)
        student = build_student(TransformerShape(3, 32, 48), folder)
        source = load_file(folder / "model.safetensors")
        state = {name: value.numpy() for name, value in student.state_dict().items()}
        for name, value in state.items():
            if name.startswith("encoder.layer."):
                number, rest = name.removeprefix("encoder.layer.").split(".", 1)
                name = f"encoder.layer.{(0, 2, 4)[int(number)]}.{rest}"
            np.testing.assert_array_equal(value, source[name])
        assert len(state) == 5 + 3 * 16

    def test_all_layers_give_the_backbone_itself(self, tiny_bert: Path) -> None:
        student = build_student(TransformerShape(2, 32, 48), tiny_bert).eval()
        reference = AutoModel.from_pretrained(tiny_bert, attn_implementation="eager").eval()
        ids = torch.randint(FIRST_WORD, VOCABULARY, (3, 9))
        with torch.inference_mode():
            ours, theirs = student(ids), reference(ids)
        torch.testing.assert_close(ours.last_hidden_state, theirs.last_hidden_state)

    def test_a_narrow_student_has_word_vectors_on_principal_axes(self, tiny_bert: Path) -> None:
        student = build_student(NARROW, tiny_bert)
        words = load_file(tiny_bert / "model.safetensors")["embeddings.word_embeddings.weight"]
        expected = PCA(16, svd_solver="full").fit_transform(words.astype(np.float64))
        got = student.embeddings.word_embeddings.weight.detach().numpy()
        # The direction of an axis is anybody's choice.
        np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-4)
        # Distances between words are nearly kept: that is the use.
        assert student.config.num_attention_heads == 2

    def test_axes_are_orthonormal(self) -> None:
        axes = principal_axes(np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32), 5)
        np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-5)

    def test_layers_are_spaced(self) -> None:
        assert spaced_layers(6, 3) == [0, 2, 5]
        assert spaced_layers(6, 6) == list(range(6))
        assert spaced_layers(6, 1) == [0]

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            (TransformerShape(3, 32, 48), "larger"),
            (TransformerShape(1, 64, 48), "larger"),
            (TransformerShape(1, 12, 48), "whole heads of 8"),
        ],
    )
    def test_what_cannot_be_built(
        self, tiny_bert: Path, shape: TransformerShape, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            build_student(shape, tiny_bert)


class TestGeneral:
    def test_regression_against_numpy(self) -> None:
        random = np.random.default_rng(0)
        embeddings = (3 + 2 * random.normal(size=(50, 6))).astype(np.float16)
        outputs, rows = random.normal(size=(4, 6)).astype(np.float32), np.array([3, 40, 7, 7])
        exact = embeddings.astype(np.float64)
        wanted = (exact - exact.mean(axis=0)) / exact.std(axis=0)
        expected = ((outputs - wanted[rows]) ** 2).mean(axis=1).sum()
        got = regression_loss(list(embeddings))(torch.from_numpy(outputs), rows)
        assert float(got) == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("shape", [WIDE, NARROW])
    def test_learns_embeddings_and_is_read_back(
        self, tiny_bert: Path, tmp_path: Path, shape: TransformerShape
    ) -> None:
        random = np.random.default_rng(0)
        rows = [random.integers(FIRST_WORD, VOCABULARY, 6).astype(np.int32) for _ in range(160)]
        backbone = TextClassifier(load_backbone(tiny_bert), 24)
        torch.nn.init.normal_(backbone.head.weight)
        embeddings = list(outputs_of(backbone, rows).astype(np.float16))
        folder = tmp_path / "student"
        assert not is_done(folder)
        plan = replace(PLAN, epochs=6)
        network = distill_generally(Student(shape, 3e-3), tiny_bert, rows, embeddings, plan, folder)
        assert is_done(folder)
        about = json.loads((folder / "general.json").read_text())
        assert about["texts"] == 160
        outputs = torch.from_numpy(outputs_of(network, rows))
        # Who always gives the mean is at 1.
        assert float(regression_loss(embeddings)(outputs, np.arange(160))) / 160 < 0.8
        again = TextClassifier(load_backbone(folder), 24)
        again.head.load_state_dict(network.head.state_dict())
        np.testing.assert_array_equal(outputs_of(again, rows), outputs)


class TestRuns:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        """Two tasks: which half of the vocabulary a text's words are of."""
        random = np.random.default_rng(0)
        for task in ("one", "two"):
            folder = tmp_path / "data" / task
            folder.mkdir(parents=True)
            (folder / "meta.json").write_text(json.dumps({"label_names": ["low", "high"]}))
            for split, count in (("train", 40), ("validation", 20), ("test", 20)):
                labels = random.integers(0, 2, count)
                numbers = random.integers(0, WORDS // 2, (count, 5)) + labels[:, None] * WORDS // 2
                with gzip.open(folder / f"{split}.jsonl.gz", "wt") as file:
                    for label, row in zip(labels, numbers, strict=True):
                        text = " ".join(f"w{number}" for number in row)
                        file.write(json.dumps({"text": text, "label": int(label)}) + "\n")
        return tmp_path / "data"

    def test_what_is_done_is_skipped(
        self, data: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "run"

        def teach(tasks: list[str], rates: tuple[float, ...] = (1e-4, 3e-3)) -> Any:
            return finetune(data, out, tasks, tiny_bert, PLAN, LIMITS, rates).lines

        first = teach(["one"])
        assert first["one"]["train_rows"] == 24
        assert first["one"]["test_rows"] == 12
        assert first["one"]["rate"] in (1e-4, 3e-3)
        assert np.load(logits_path(out, "one")).shape == (24, 2)
        stamp = logits_path(out, "one").stat().st_mtime_ns
        second = teach(["one", "two"])
        assert list(second) == ["one", "two"]
        assert second["one"] == first["one"]
        assert logits_path(out, "one").stat().st_mtime_ns == stamp
        with pytest.raises(ValueError, match="name another folder"):
            teach(["one"], (1e-4,))

        student = out / "students" / "1x16"
        rows = [np.array([0, word, 2], np.int32) for word in range(FIRST_WORD, VOCABULARY)]
        embeddings = list(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float16))
        distill_generally(Student(NARROW, 3e-3), tiny_bert, rows, embeddings, PLAN, student)

        def learn(tasks: list[str]) -> Any:
            return distill(data, out, tasks, student, PLAN, LIMITS, Softness()).lines

        learn(["two"])
        done = learn(["one", "two"])
        assert list(done) == ["two", "one"]
        monkeypatch.setattr(finetuning, "fit", None)
        monkeypatch.setattr(module, "fit", None)
        assert teach(["one", "two"]) == second
        assert learn(["one", "two"]) == done

    def test_the_rate_with_the_best_validation_is_kept(
        self, data: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scores, networks = {1e-4: 50.0, 1e-3: 70.0, 1e-2: 60.0}, {}

        def fit(network: Any, rows: Any, loss: Any, plan: FitPlan, score: Any) -> Fit:
            networks[plan.rate] = network
            return Fit(plan.rate, scores[plan.rate], 1, 1, 2.0)

        monkeypatch.setattr(finetuning, "fit", fit)
        task = read_task(data, "one", tiny_bert / "tokenizer.json", LIMITS)
        best = best_teacher(task, tiny_bert, PLAN, scores)
        assert best.fit.rate == 1e-3
        assert best.network is networks[1e-3]
        assert best.seconds == 6.0
        with pytest.raises(ValueError, match="no rate"):
            best_teacher(task, tiny_bert, PLAN, [])

    def test_logits_of_other_rows_are_refused(
        self, data: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        finetune(data, tmp_path, ["one"], tiny_bert, PLAN, LIMITS, [1e-3])
        folder = tmp_path / "students" / "1x32"
        rows, embeddings = [np.array([0, 5, 2], np.int32)] * 8, list(np.eye(8, dtype=np.float16))
        distill_generally(Student(WIDE, 1e-3), tiny_bert, rows, embeddings, PLAN, folder)
        with pytest.raises(ValueError, match=r"one gave \(24, 2\) logits, expected \(20, 2\)"):
            distill(
                data, tmp_path, ["one"], folder, PLAN, replace(LIMITS, train_rows=20), Softness()
            )
