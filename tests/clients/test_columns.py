"""scikit-learn pipelines, pandas and polars columns against the real service."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from polyhead import Client, NotFound
from polyhead.frames import predict_column
from polyhead.sklearn import PolyheadClassifier, PolyheadEncoder
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from tests.api.test_tasks import rows
from tests.conftest import ServiceProcess

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
polars = pytest.importorskip("polars", reason="polars is not installed")


def test_a_pipeline_is_searched_and_pays_for_each_text_once(service: ServiceProcess) -> None:
    mark = uuid.uuid4().hex[:6]
    found = rows(60, seed=77)
    texts, labels = [f"{mark} {row['text']}" for row in found], [row["label"] for row in found]
    model = make_pipeline(PolyheadEncoder(service.url), LogisticRegression())
    before = service.metric("polyhead_texts_encoded_total")
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1, 10]}, cv=3)
    search.fit(np.array(texts), np.array(labels))
    assert search.best_score_ > 0.8
    assert service.metric("polyhead_texts_encoded_total") - before <= len(set(texts))


def test_a_text_column_beside_others(service: ServiceProcess) -> None:
    found = rows(40, seed=78)
    frame = pandas.DataFrame(
        {"text": [row["text"] for row in found], "length": [len(row["text"]) for row in found]}
    )
    features = ColumnTransformer(
        [("codes", PolyheadEncoder(service.url), "text"), ("rest", "passthrough", ["length"])]
    )
    assert features.fit_transform(frame).shape == (40, 1537)
    named = features.set_output(transform="pandas").fit_transform(frame)
    assert list(named["rest__length"]) == list(frame["length"])


def test_a_classifier_trains_a_task_and_answers_by_it(service: ServiceProcess) -> None:
    task = f"estimator-{uuid.uuid4().hex[:8]}"
    found = rows(60, seed=79)
    texts, labels = [row["text"] for row in found], [row["label"] for row in found]
    with Client(service.url) as client:
        with pytest.raises(NotFound):
            PolyheadClassifier(task, service.url).fit(texts)
        trained = PolyheadClassifier(task, service.url, train=True).fit(texts, labels)
        assert trained.version_ == client.tasks.get(task).active_version == 1
        assert trained.score(texts, labels) > 0.8
        reading = PolyheadClassifier(task, service.url).fit(texts, labels)
        answers = client.predict(texts, [task], scores=True)
        assert list(reading.predict(texts)) == [one[task].label for one in answers]
        assert reading.predict_proba(texts).sum(axis=1) == pytest.approx(1, abs=1e-3)
        assert len(client.tasks.get(task).versions) == 1  # only train=True makes versions
        client.tasks.delete(task)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_in_columns_out(service: ServiceProcess, library: str) -> None:
    texts = ["What a lovely day", None, "", "You broke it again", "word " * 200_000]
    if library == "pandas":
        column = pandas.Series(texts, index=[5, 4, 3, 2, 1], name="text")
    else:
        column = polars.Series("text", texts)
    with Client(service.url) as client:
        frame = predict_column(client, column, ["sentiment"], prefix="p_")
        good = (0, 3)
        answers = client.predict([texts[place] for place in good], ["sentiment"])
    assert list(frame.columns) == ["p_sentiment", "p_sentiment_score", "p_error"]
    assert len(frame) == 5
    if library == "pandas":
        assert list(frame.index) == list(column.index)
        records = frame.to_dict("records")
        found = [{n: None if pandas.isna(v) else v for n, v in one.items()} for one in records]
    else:
        found = frame.to_dicts()
    for place, answer in zip(good, answers, strict=True):
        assert found[place]["p_sentiment"] == answer["sentiment"].label
        assert found[place]["p_sentiment_score"] == answer["sentiment"].score
    assert [row["p_error"] is None for row in found] == [True, False, False, True, False]


def test_no_rows_and_wrong_columns(service: ServiceProcess) -> None:
    with Client(service.url) as client:
        empty = predict_column(client, polars.Series("text", [], polars.String), ["sentiment"])
        assert empty.schema["sentiment"] == polars.String
        assert len(empty) == 0
        with pytest.raises(TypeError, match="pandas' or polars'"):
            predict_column(client, ["a text"], ["sentiment"])
        with pytest.raises(ValueError, match="tasks"):
            predict_column(client, polars.Series(["a"]), "sentiment")
        with pytest.raises(NotFound):
            predict_column(client, polars.Series(["a"]), ["no-such-task"])
