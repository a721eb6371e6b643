"""Reading answers: newer ones are understood, broken ones are named."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhead import Confusion, ProtocolError, Usage, _parse, _task_parse

NAMES = (
    *("data", "index", "key", "code", "bits", "cached", "predictions", "version", "usage"),
    *("encoder", "name", "kind", "labels", "versions", "ready_made", "created_at", "id", "task"),
    *("status", "stage", "progress", "report", "embedding"),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(json_values)
def test_any_json_is_read_or_refused_as_broken(value):
    for read in (
        lambda v: _parse.predictions(v, count=1),
        lambda v: _parse.codes(v, count=1),
        lambda v: _parse.embeddings(v, count=1),
        _parse.models,
        _parse.document,
        _task_parse.task,
        _task_parse.tasks,
        _task_parse.version,
        _task_parse.comparison,
        _task_parse.job,
        _task_parse.jobs,
        _task_parse.deleted,
    ):
        try:
            read(value)
        except ProtocolError as error:
            assert str(error).startswith("unexpected answer: ")


def item(index=0, **fields):
    return {"index": index, "key": "k", "cached": True, "predictions": {}, **fields}


def answer(*items):
    return {"data": list(items), "encoder": "f", "usage": {}}


def test_optional_fields_may_be_missing_or_null_and_unknown_ones_present():
    for extra in ({}, {"truncated": None}, {"brand_new": {"a": 1}}):
        result = _parse.predictions(answer(item(**extra)), count=1)[0]
        assert result.truncated is None
    assert _parse.usage({"prompt_tokens": 3, "new": 1}, "u") == Usage(prompt_tokens=3)


def test_kinds_of_prediction():
    read = _parse.prediction
    single = read({"label": "a", "score": 1, "version": 2, "scores": {"a": 1.0}}, "p")
    assert (single.label, single.score, single.scores, single.labels) == (
        "a",
        1.0,
        {"a": 1.0},
        None,
    )
    assert not single.abstained
    unsure = read({"label": None, "score": 0.4, "version": 2, "abstained": True}, "p")
    assert (unsure.label, unsure.score, unsure.abstained) == (None, 0.4, True)
    multi = read({"labels": [], "version": 2}, "p")
    assert (multi.labels, multi.label) == ((), None)
    assert read({"value": -3, "version": 1}, "p").value == -3.0


def test_data_is_put_in_order():
    results = _parse.predictions(answer(item(1, key="b"), item(0, key="a")), count=2)
    assert [result.key for result in results] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "answer should be an object, not a list"),
        ({"encoder": "f"}, "answer.data is missing"),
        ({"data": {}}, "answer.data should be a list, not an object"),
        (answer(item(cached=1)), r"answer.data\[0\].cached should be a boolean, not a number"),
        (answer(item(index=True)), r"answer.data\[0\].index should be a whole number, not a bool"),
        (answer(item(key=None)), r"answer.data\[0\].key should be a string, not null"),
        (answer(), "data should hold 1 items of index 0 to 0, but holds 0"),
        (answer(item(0), item(0)), "but holds 2"),
        (answer(item(4)), "but holds 1 with other indexes"),
        (
            answer(item(predictions={"t": {"version": "3"}})),
            r"answer.data\[0\].predictions.t.version should be a whole number, not a string",
        ),
        ({**answer(item()), "encoder": 3}, "answer.encoder should be a string, not a number"),
    ],
)
def test_what_is_broken_is_named(value, message):
    with pytest.raises(ProtocolError, match=message):
        _parse.predictions(value, count=1)


def test_codes_have_the_width_they_say():
    code = {"index": 0, "key": "k", "cached": False, "code": base64.b64encode(b"ab").decode()}
    body = {"data": [code], "bits": 16, "encoder": "f", "usage": {}}
    assert _parse.codes(body, count=1)[0].code == b"ab"
    assert _parse.codes({**body, "bits": 9}, count=1)[0].code == b"ab"
    with pytest.raises(ProtocolError, match="holds 2 bytes, which is not 17 bits"):
        _parse.codes({**body, "bits": 17}, count=1)
    body["data"] = [{**code, "code": "!!"}]
    with pytest.raises(ProtocolError, match=r"data\[0\].code is not base64"):
        _parse.codes(body, count=1)


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_vectors_are_little_endian_float32(values):
    packed = b"".join(struct.pack("<f", value) for value in values)
    assert _parse.vector(base64.b64encode(packed).decode(), "v") == values
    assert _parse.vector(values, "v") == values


def test_broken_vectors():
    with pytest.raises(ProtocolError, match="v holds 3 bytes, not a multiple of 4"):
        _parse.vector(base64.b64encode(b"abc").decode(), "v")
    data = [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]
    with pytest.raises(ProtocolError, match=r"vectors of several lengths, \[1, 2\]"):
        _parse.embeddings({"data": data, "usage": {}}, count=2)
    with pytest.raises(ProtocolError, match=r"v\[0\] is too large a number"):
        _parse.vector([10**400], "v")


def test_a_whole_report(expect):
    body = {"task": "t", "version": 1, "kind": "single_label", "head": "linear", "encoder": "f"}
    body |= {"created_at": 1, "active": True, "labels": ["a"], "report": expect.report()}
    report = _task_parse.version(body).report
    assert report.accuracy == 0.75
    assert report.per_class[0].precision == 1.0
    assert report.confusion == Confusion(("a", "b"), ((1, 0), (0, 1)))
    assert report.usage == Usage(inputs=10, cached=4, encoded=6)
    assert report.seconds.fit == 0.25
    assert report.warnings == ("few examples",)
    assert report.mae is None
    assert report.hyperparameters == {"l2": 0.1}


def test_a_report_of_a_regression_has_little():
    body = {"id": "j", "task": "t", "status": "succeeded", "stage": "done", "progress": 1}
    body |= {"created_at": 1, "report": {"kind": "regression", "head": "linear", "n_train": 1}}
    body["report"] |= {"n_test": 1, "test_source": "given", "mae": 0.5, "r2": 0.1}
    body["report"] |= {"confusion": None, "per_class": None}
    report = _task_parse.job(body).report
    assert (report.mae, report.r2, report.per_class, report.confusion) == (0.5, 0.1, (), None)
