"""Labelled texts in every form."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from polyhead._examples import File, Rows, read_examples


def rows(examples, **columns):
    data = read_examples(examples, "examples", **columns)
    assert isinstance(data, Rows)
    return data


def test_pairs():
    assert rows([("a", "x"), ["b", "y"]]) == Rows(
        "single_label", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    )
    assert rows([("a", ["x", "y"]), ("b", ()), ("c", {"z", "w"})]) == Rows(
        "multi_label",
        [
            {"text": "a", "labels": ["x", "y"]},
            {"text": "b", "labels": []},
            {"text": "c", "labels": ["w", "z"]},
        ],
    )
    assert rows([("a", 1.5), ("b", Fraction(1, 2))]) == Rows(
        "regression", [{"text": "a", "value": 1.5}, {"text": "b", "value": 0.5}]
    )


def test_dicts_and_columns():
    assert rows([{"text": "a", "label": "x", "id": 7}]).rows == [{"text": "a", "label": "x"}]
    assert rows([{"text": "a", "labels": ["x"]}]).kind == "multi_label"
    assert rows([{"text": "a", "label": ["x"]}]).kind == "multi_label"
    assert rows([{"text": "a", "value": 3}]).rows == [{"text": "a", "value": 3.0}]
    named = rows([{"body": "a", "stars": 4.0}], text_column="body", label_column="stars")
    assert named == Rows("regression", [{"text": "a", "value": 4.0}])


def test_a_generator_is_read_once():
    assert len(rows((f"{i}", "x") for i in range(5)).rows) == 5


def test_numpy_numbers():
    numpy = pytest.importorskip("numpy")
    assert rows([("a", numpy.float32(0.5))]).rows == [{"text": "a", "value": 0.5}]
    with pytest.raises(TypeError, match="may be a class or a number"):
        rows([("a", numpy.int64(1))])


@pytest.mark.parametrize(
    ("examples", "error", "message"),
    [
        (None, ValueError, "examples must be given"),
        ([], ValueError, "examples must not be empty"),
        (3, TypeError, "examples must be a path or an iterable"),
        ({"a": "x"}, TypeError, "examples must be a path or an iterable"),
        ([("a", 1)], TypeError, r"examples\[0\]\[1\] is 1, which may be a class or a number"),
        ([("a", True)], TypeError, r"examples\[0\]\[1\] is True"),
        ([("a", None)], TypeError, r"examples\[0\]\[1\] must be a str, a list of str or a float"),
        ([("a", float("nan"))], ValueError, r"examples\[0\]\[1\] must be finite, not nan"),
        ([("a", "x"), ("b", 2.0)], ValueError, r"examples\[1\] is regression, but examples\[0\]"),
        ([("a", "x", "y")], TypeError, r"examples\[0\] must be a \(text, label\) pair .* of 3"),
        (["ab"], TypeError, r"examples\[0\] must be .* not str"),
        ([(1, "x")], TypeError, r"examples\[0\]\[0\] must be a str, not int"),
        ([("a\udc00", "x")], ValueError, r"examples\[0\]\[0\] holds a lone surrogate"),
        ([("a", "x\udc00")], ValueError, r"examples\[0\]\[1\] holds a lone surrogate"),
        ([("a", ["x", 1])], TypeError, r"examples\[0\]\[1\]\[1\] must be a str, not int"),
        ([{"label": "x"}], ValueError, r"examples\[0\] has no 'text'"),
        ([{"text": "a"}], ValueError, "must have exactly one of 'label', 'labels' and 'value'"),
        ([{"text": "a", "label": "x", "value": 1.0}], ValueError, r"but has \['label', 'value'\]"),
        ([{"text": "a", "value": "1"}], TypeError, r"examples\[0\]\['value'\] must be a number"),
    ],
)
def test_what_is_wrong_is_named(examples, error, message):
    with pytest.raises(error, match=message):
        read_examples(examples, "examples")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", "text,label\na,x\n", "single_label"),
        ("a.JSONL", json.dumps({"text": "a", "label": "x"}), "single_label"),
        ("a.jsonl", '\n{"text": "a", "labels": ["x"]}\n{', "multi_label"),
        ("a.jsonl", '{"text": "a", "value": 1}', "regression"),
        ("a.jsonl", '{"text": "a", "label": 1}', "single_label"),
        ("a.jsonl", "not json", "single_label"),
        ("a.jsonl", "[1]", "single_label"),
    ],
)
def test_files(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_text(content)
    data = read_examples(path, "examples")
    assert data == File(kind, path.suffix.lower(), content.encode())
    assert read_examples(str(path), "examples") == data


def test_wrong_files(tmp_path):
    with pytest.raises(ValueError, match=r"examples must be a \.csv or \.jsonl file"):
        read_examples("data.xlsx", "examples")
    with pytest.raises(FileNotFoundError):
        read_examples(tmp_path / "none.csv", "examples")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match="examples must not be empty"):
        read_examples(tmp_path / "empty.csv", "examples")
