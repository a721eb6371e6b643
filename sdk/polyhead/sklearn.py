"""scikit-learn estimators over the service. Needs `polyhead[sklearn]`.

    from polyhead.sklearn import PolyheadEncoder

    model = make_pipeline(PolyheadEncoder(), LogisticRegression())
    model.fit(texts, labels)

The key is read from `POLYHEAD_API_KEY`: as a parameter it would be shown wherever an estimator is.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from ._client import Client
from ._text_columns import texts_of
from ._types import Codes

Output = Literal["signs", "bits", "full"]


class _OverTexts(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: texts in, one column of them."""

    def _texts(self, X: Any) -> list[str]:
        """The texts of `X`; the tests put numbers in their place."""
        return texts_of(X)

    def __sklearn_tags__(self) -> Any:
        """One column of strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


class PolyheadEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _OverTexts):  # type: ignore[misc]
    """Texts to the codes of the service, as features.

    Nothing is learned: `fit` notes which encoder answers, and `transform` refuses the codes of
    another one, on which a model behind it would silently be wrong. Codes are cached, so that
    fitting again, as a cross-validation does, costs no encoder pass.

    Args:
        base_url: Of the service; None reads `POLYHEAD_URL`, then `http://127.0.0.1:8080`.
        output: `"signs"`: the bits as ±1/√bits, float32. `"bits"`: 0 and 1, uint8. `"full"`: the
            encoder's float vector, of unit length, float32, computed anew each time.

    Attributes:
        encoder_: Fingerprint of the encoder.
        n_bits_: Width of a row.
    """

    def __init__(self, base_url: str | None = None, output: Output = "signs") -> None:
        """Nothing is sent yet."""
        self.base_url = base_url
        self.output = output

    def fit(self, X: Any, y: Any = None) -> Self:
        """Note which encoder answers.

        Args:
            X: Texts `(n,)`: a list, an array, a pandas or polars series, or a frame of one column.
            y: Ignored.

        Raises:
            ValueError: `X` is no column of texts, or `output` is unknown.
            PolyheadError: See the error tree.
        """
        self._check()
        texts = self._texts(X)
        with Client(self.base_url) as client:
            codes = client.encode(texts[:1])
        self.encoder_ = codes.encoder
        self.n_bits_ = codes.bits
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Features of texts.

        Args:
            X: Texts `(n,)`, as `fit` takes them.

        Returns:
            `(n, n_bits_)`, float32 or (`"bits"`) uint8; a frame after `set_output`.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: `X` is no column of texts, or the service runs another encoder now.
            PolyheadError: See the error tree.
        """
        check_is_fitted(self)
        self._check()
        texts = self._texts(X)
        with Client(self.base_url) as client:
            full = self.output == "full"
            codes = client.encode(texts[:1] if full else texts)
            if codes.encoder != self.encoder_:
                raise ValueError(
                    f"the service runs encoder {codes.encoder} now, this was fitted with "
                    f"{self.encoder_}: fit again"
                )
            if full:
                vectors = client.embed(texts, precision="full")
                return np.array(vectors.items, dtype=np.float32)
        return _features(codes, self.output)

    def __sklearn_tags__(self) -> Any:
        """The features' type does not hang on the input's."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.n_bits_)

    def _check(self) -> None:
        if self.output not in ("signs", "bits", "full"):
            raise ValueError(f"output must be signs, bits or full, not {self.output!r}")


def _features(codes: Codes, output: Output) -> NDArray[Any]:
    packed = np.frombuffer(b"".join(one.code for one in codes), np.uint8)
    bits = np.unpackbits(packed.reshape(len(codes), -1), axis=1, count=codes.bits)
    if output == "bits":
        return bits
    return (bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(codes.bits))


class PolyheadClassifier(ClassifierMixin, _OverTexts):  # type: ignore[misc]
    """A single label task of the service as a classifier: its active version answers.

    By default `fit` trains nothing and only reads the task's labels, so that cross-validation and
    the like do not make versions. With `train=True` it trains the task's next version on the
    service and lets it answer, for everybody who asks the task. To try models without touching the
    service, put `PolyheadEncoder` before one of scikit-learn's.

    Args:
        task: Its name.
        base_url: Of the service; None reads `POLYHEAD_URL`, then `http://127.0.0.1:8080`.
        train: Whether `fit` trains.
        head: What is trained: `"auto"`, `"linear"`, `"mlp"` or `"prototype"`.
        class_weight: `"balanced"` weighs rare labels up in a training.

    Attributes:
        classes_: The labels `(c,)`, sorted; of the type of `y` where `fit` trained.
        version_: The version that answered when this was fitted.
    """

    def __init__(
        self,
        task: str = "",
        base_url: str | None = None,
        train: bool = False,
        head: Any = "auto",
        class_weight: Literal["balanced"] | None = None,
    ) -> None:
        """Nothing is sent yet."""
        self.task = task
        self.base_url = base_url
        self.train = train
        self.head = head
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any = None) -> Self:
        """Read the task's labels, or train its next version.

        Args:
            X: Texts `(n,)`: a list, an array, a pandas or polars series, or a frame of one column.
            y: Labels `(n,)`. Needed to train; else only checked to be labels of the task.

        Raises:
            ValueError: `X` is no column of texts, `y` does not fit it or holds unknown labels, or
                the task is not of the single label kind, or has no active version.
            NotFound: The task is unknown, and not to be trained.
            PolyheadError: See the error tree.
        """
        texts = self._texts(X)
        labels = None if y is None else np.asarray(y).reshape(-1)
        if labels is not None and len(labels) != len(texts):
            raise ValueError(f"X has {len(texts)} texts, y {len(labels)} labels")
        with Client(self.base_url) as client:
            if self.train:
                self._train(client, texts, labels)
            else:
                self._read(client, labels)
        return self

    def _train(self, client: Client, texts: list[str], labels: NDArray[Any] | None) -> None:
        if labels is None:
            raise ValueError("y must be given: there is nothing to train on")
        classes = np.unique(labels)
        if len({str(label) for label in classes}) < len(classes):
            raise ValueError("y holds labels that look the same when written")
        job = client.tasks.train(
            self.task,
            [(text, str(label)) for text, label in zip(texts, labels, strict=True)],
            head=self.head,
            class_weight=self.class_weight,
            activate=True,
        )
        self.version_ = client.jobs.wait(job, progress=False).version
        self.classes_ = classes

    def _read(self, client: Client, labels: NDArray[Any] | None) -> None:
        task = client.tasks.get(self.task)
        if task.kind != "single_label":
            raise ValueError(f"task {self.task!r} is {task.kind}, not single_label")
        if task.active_version is None:
            raise ValueError(f"task {self.task!r} has no active version: train one")
        unknown = set() if labels is None else {str(one) for one in labels} - set(task.labels)
        if unknown:
            raise ValueError(f"y holds labels that {self.task!r} has not, such as {min(unknown)!r}")
        self.version_ = task.active_version
        self.classes_ = np.array(sorted(task.labels))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities by the active version.

        Args:
            X: Texts `(n,)`, as `fit` takes them.

        Returns:
            `(n, c)`, 0 to 1, in the order of `classes_`.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: `X` is no column of texts, or the version has labels that `classes_` has
                not.
            PolyheadError: See the error tree.
        """
        check_is_fitted(self)
        texts = self._texts(X)
        with Client(self.base_url) as client:
            answers = client.predict(texts, [self.task], scores=True)
        place = {str(label): number for number, label in enumerate(self.classes_)}
        table = np.zeros((len(texts), len(place)))
        for row, answer in zip(table, answers, strict=True):
            for label, score in (answer[self.task].scores or {}).items():
                if label not in place:
                    raise ValueError(f"the active version knows {label!r}, this does not: fit")
                row[place[label]] = score
        return table

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest labels `(n,)`, also where the version says that it is not sure.

        Args:
            X: Texts `(n,)`, as `fit` takes them.

        Raises:
            As `predict_proba`.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels
