"""The scikit-learn estimators by scikit-learn's own checks.

The checks feed numbers. Estimators over texts are therefore checked twice: as they are, where
scikit-learn leaves out what needs numbers, and with numbers written as texts, where all checks run.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from typing import ClassVar

import pytest

np = pytest.importorskip("numpy")
sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import validate_data

import polyhead
from polyhead import Code, Codes, Embeddings, Prediction, Predictions, Result, Usage
from polyhead import sklearn as ours

BITS = 16
LABELS = ("negative", "positive")


class StubClient:
    """Answers in memory: codes are digests, and a task knows the labels it was trained on."""

    encoder = "f" * 8
    known: ClassVar[dict[str, dict[str, str]]] = {}

    def __init__(self, base_url=None):
        self.tasks = self.jobs = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def encode(self, texts):
        items = tuple(
            Code(text, hashlib.sha256(text.encode()).digest()[: BITS // 8], True) for text in texts
        )
        return Codes(items=items, usage=Usage(), bits=BITS, encoder=self.encoder)

    def embed(self, texts, precision):
        assert precision == "full"
        bits = [np.unpackbits(np.frombuffer(code.code, np.uint8)) for code in self.encode(texts)]
        return Embeddings(items=tuple(list(row / 4 - 0.125) for row in bits), usage=Usage())

    def get(self, name):
        if name == "numbers":
            return polyhead.Task(name, "regression", (), False, 0.0, (), 1)
        if name == "untrained":
            return polyhead.Task(name, "single_label", (), False, 0.0, ())
        return polyhead.Task(name, "single_label", LABELS, False, 0.0, (), 1)

    def train(self, name, examples, **options):
        assert options["activate"] is True
        if len({label for _, label in examples}) < 2:
            raise ValueError("one class alone: there is nothing to tell apart")
        StubClient.known[name] = dict(examples)
        return "job"

    def wait(self, job, progress):
        return type("Job", (), {"version": 2})

    def predict(self, texts, tasks, scores):
        (task,) = tasks
        learned = self.known.get(task, {})
        labels = sorted(set(learned.values())) or list(LABELS)
        items = []
        for text in texts:
            best = learned.get(text, labels[len(text) % len(labels)])
            found = {one: 0.9 if one == best else 0.1 / (len(labels) - 1) for one in labels}
            answer = Prediction(2, label=best, score=0.9, scores=found)
            items.append(Result(len(items), text, True, {task: answer}))
        return Predictions(items=tuple(items), usage=Usage(), encoder=self.encoder)


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    monkeypatch.setattr(ours, "Client", StubClient)
    StubClient.known = {}


class OnNumbers:
    """Rows of numbers, each written as a text."""

    def fit(self, X, y=None):
        if isinstance(self, ours.PolyheadClassifier):
            X, y = validate_data(self, X, y)
            from sklearn.utils.multiclass import check_classification_targets

            check_classification_targets(y)
        else:
            X = validate_data(self, X)
        return super().fit(self._written(X), y)

    def _later(self, X):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return self._written(validate_data(self, X, reset=False))

    @staticmethod
    def _written(X):
        return [" ".join(map(str, row)) for row in X.tolist()]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


class EncoderOnNumbers(OnNumbers, ours.PolyheadEncoder):
    def transform(self, X):
        return super().transform(self._later(X))


class ClassifierOnNumbers(OnNumbers, ours.PolyheadClassifier):
    def predict_proba(self, X):
        return super().predict_proba(self._later(X))


EXPECTED = {
    "check_class_weight_classifiers": "weights of one's own: the service knows 'balanced' alone",
}


@parametrize_with_checks(
    [EncoderOnNumbers(), ClassifierOnNumbers(task="topic", train=True)],
    expected_failed_checks=lambda estimator: (
        EXPECTED if isinstance(estimator, ClassifierOnNumbers) else {}
    ),
)
def test_every_check_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "estimator", [ours.PolyheadEncoder(), ours.PolyheadClassifier(task="topic")]
)
def test_check_estimator_as_they_are(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)  # what needs numbers
        check_estimator(estimator)


def test_features():
    texts = ["one", "two", "three"]
    signs = ours.PolyheadEncoder().fit_transform(texts)
    bits = ours.PolyheadEncoder(output="bits").fit_transform(texts)
    full = ours.PolyheadEncoder(output="full").fit_transform(texts)
    assert signs.shape == bits.shape == full.shape == (3, BITS)
    assert (signs.dtype, bits.dtype, full.dtype) == (np.float32, np.uint8, np.float32)
    assert ((signs > 0) == bits).all()
    assert ((full > 0) == bits).all()
    assert np.linalg.norm(signs, axis=1) == pytest.approx(1)
    with pytest.raises(ValueError, match="output must be"):
        ours.PolyheadEncoder(output="half").fit(texts)
    with pytest.raises(NotFittedError):
        ours.PolyheadEncoder().transform(texts)


def test_another_encoder_is_refused(monkeypatch):
    fitted = ours.PolyheadEncoder().fit(["one"])
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.transform(["two"]) == fitted.transform(["two"])).all()
    monkeypatch.setattr(StubClient, "encoder", "0" * 8)
    with pytest.raises(ValueError, match="fit again"):
        fitted.transform(["two"])


def test_frames_out():
    for library in ("pandas", "polars"):
        frames = pytest.importorskip(library)
        encoder = ours.PolyheadEncoder().set_output(transform=library)
        found = encoder.fit_transform(frames.Series(["one", "two"]))
        assert isinstance(found, frames.DataFrame)
        assert list(found.columns)[:2] == ["polyheadencoder0", "polyheadencoder1"]


def test_a_classifier_reads_a_task_or_trains_one():
    model = ours.PolyheadClassifier(task="topic").fit(["one", "two"])
    assert list(model.classes_) == sorted(LABELS)
    assert set(model.predict(["one", "two"])) <= set(LABELS)
    assert model.predict_proba(["one"]).sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="'odd'"):
        model.fit(["one"], ["odd"])
    trained = clone(model).set_params(train=True).fit(["one", "two", "three"], [3, 1, 3])
    assert trained.version_ == 2
    assert list(trained.predict(["two", "one"])) == [1, 3]
    with pytest.raises(ValueError, match="the active version knows"):
        model.fit(["one"]).predict_proba(["one"])
    for task, said in (("numbers", "regression"), ("untrained", "no active version")):
        with pytest.raises(ValueError, match=said):
            ours.PolyheadClassifier(task=task).fit(["one"])
    with pytest.raises(ValueError, match="nothing to train on"):
        ours.PolyheadClassifier(task="topic", train=True).fit(["one"])
    with pytest.raises(ValueError, match="1 texts, y 2"):
        ours.PolyheadClassifier(task="topic").fit(["one"], ["a", "b"])
