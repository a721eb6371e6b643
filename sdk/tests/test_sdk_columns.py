"""Columns of texts in, columns of answers out; bad texts cost only their own answer."""

from __future__ import annotations

import random

import pytest

from polyhead import InvalidField, Overloaded, Prediction, TooLarge
from polyhead._columns import Column, cells_of, columns_of
from polyhead._each import Bad, answer_each
from polyhead._text_columns import texts_of, values_of

KINDS = {"topic": "single_label", "tags": "multi_label", "price": "regression"}


def test_columns_of_each_kind():
    assert columns_of(KINDS, "p_") == [
        Column("p_topic", "string"),
        Column("p_topic_score", "number"),
        Column("p_tags", "strings"),
        Column("p_price", "number"),
    ]
    answers = {
        "topic": Prediction(1, label=None, score=0.4, abstained=True),
        "tags": Prediction(1, labels=()),
        "price": Prediction(1, value=0.0),
    }
    assert cells_of(KINDS, answers) == [None, 0.4, [], 0.0]
    assert cells_of(KINDS, None) == [None] * 4
    with pytest.raises(ValueError, match="'a_score'"):
        columns_of({"a": "single_label", "a_score": "regression"})
    with pytest.raises(ValueError, match="'error'"):
        columns_of({"error": "single_label"})


class Service:
    """Refuses texts that start with `bad`, one at a time, and more than 40 characters together."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(list(texts))
        if sum(map(len, texts)) > 40:
            raise TooLarge(413, "the body is too large")
        for place, text in enumerate(texts):
            if text.startswith("bad"):
                raise InvalidField(422, f"inputs[{place}] is bad", param=f"inputs[{place}]")
        return [text.upper() for text in texts]


def test_answers_stay_in_their_places_whatever_is_bad():
    rng = random.Random(3)
    choices = ["one", "two", "bad", "bad too", "", " ", None, 7, "\ud800", "x" * 41]
    for _ in range(200):
        texts = [rng.choice(choices) for _ in range(rng.randrange(30))]
        answers = answer_each(Service(), texts, max_batch=8)
        assert len(answers) == len(texts)
        for text, answer in zip(texts, answers, strict=True):
            if text in ("one", "two"):
                assert answer == text.upper()
            else:
                assert isinstance(answer, Bad)
                assert "inputs[" not in answer.reason


def test_what_is_no_texts_fault_is_raised():
    def busy(texts):
        raise Overloaded(429, "busy")

    def confused(texts):
        raise InvalidField(422, "tasks: too many", param="tasks")

    for ask in (busy, confused):
        with pytest.raises((Overloaded, InvalidField)):
            answer_each(ask, ["a"], 8)


def test_no_request_for_bad_texts_alone():
    service = Service()
    assert answer_each(service, [None, ""], 8) == [
        Bad("there is no text"),
        Bad("the text is empty"),
    ]
    assert service.asked == []


def test_plain_columns():
    assert values_of(["a", None, float("nan")]) == ["a", None, None]
    assert texts_of(("a", "b")) == ["a", "b"]
    for wrong in ("a", b"a", 3, None):
        with pytest.raises(TypeError, match="column of texts"):
            texts_of(wrong)
    with pytest.raises(ValueError, match=r"X\[1\]: there is no text"):
        texts_of(["a", None])
    with pytest.raises(ValueError, match="no texts"):
        texts_of([])


def test_columns_of_libraries():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    numpy = pytest.importorskip("numpy")
    for column in (
        pandas.Series(["a", None], index=[7, 8]),
        pandas.Series(["a", pandas.NA], dtype="string"),
        pandas.DataFrame({"t": ["a", None]}),
        polars.Series(["a", None]),
        polars.DataFrame({"t": ["a", None]}),
        numpy.array(["a", None], dtype=object),
        numpy.array([["a"], [None]], dtype=object),
    ):
        assert values_of(column) == ["a", None]
    for wide in (pandas.DataFrame({"t": ["a"], "u": ["b"]}), numpy.array([["a", "b"]])):
        with pytest.raises(ValueError, match="one column"):
            values_of(wide)
