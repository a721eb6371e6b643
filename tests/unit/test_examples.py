"""app.tasks.examples: uploads of every kind give Examples or an ApiError, and nothing else."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ApiError, BadRequest, InvalidField
from app.schemas import Example, TaskKind
from app.tasks.examples import (
    MAX_LABEL_CHARS,
    Examples,
    from_json,
    from_upload,
    label_names,
    target_array,
)
from models.head_artifact import MAX_LABELS

KINDS = get_args(TaskKind)


def read(
    data: str | bytes, kind: TaskKind = "single_label", filename: str = "x.csv", **columns: str
) -> Examples:
    raw = data.encode() if isinstance(data, str) else data
    return from_upload(
        raw, filename, kind, **{"text_column": "text", "label_column": "label"} | columns
    )


def refusal(error: type[ApiError], data: str | bytes, *arguments: Any, **columns: str) -> str:
    with pytest.raises(error) as caught:
        read(data, *arguments, **columns)
    return caught.value.message


class TestCsv:
    def test_columns_are_found_by_name_and_others_ignored(self) -> None:
        examples = read("id,label,text\n1,pos,good\n2,neg,bad\n")
        assert examples == Examples(["good", "bad"], ["pos", "neg"])
        assert len(examples) == 2

    def test_columns_may_be_named(self) -> None:
        examples = read("q,a\nhow?,x\n", text_column="q", label_column="a")
        assert examples == Examples(["how?"], ["x"])

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_delimiters(self, delimiter: str) -> None:
        data = f'text{delimiter}label\n"a,b;c\td"{delimiter}x\n'
        assert read(data, filename="X.TSV") == Examples(["a,b;c\td"], ["x"])

    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
    def test_newlines_and_quoted_ones(self, newline: str) -> None:
        rows = ["text,label", f'"two{newline}lines ""quoted""",x', "plain,y"]
        examples = read(newline.join(rows))
        assert examples == Examples([f'two{newline}lines "quoted"', "plain"], ["x", "y"])

    def test_a_byte_order_mark_is_not_part_of_the_header(self) -> None:
        assert read(b"\xef\xbb\xbftext,label\nhi,x\n") == Examples(["hi"], ["x"])

    def test_blank_lines_are_skipped_and_labels_trimmed(self) -> None:
        examples = read("text , label\n\n keep , x \n\n")
        assert examples == Examples([" keep "], ["x"])

    def test_a_huge_field_is_read(self) -> None:
        text = "word " * 60_000
        assert read(f'text,label\n"{text}",x\n').texts == [text]
        assert csv.field_size_limit() >= len(text)  # never lowered again: others read meanwhile
        read("text,label\na,x\n")
        assert csv.field_size_limit() >= len(text)

    def test_multi_label_cells_are_split(self) -> None:
        examples = read("text,label\na,x| y |\nb,\nc,z\n", "multi_label")
        assert examples.targets == [["x", "y"], [], ["z"]]

    def test_regression_cells_are_numbers(self) -> None:
        examples = read("text,label\na,1\nb, -2.5e3 \n", "regression")
        assert examples.targets == [1.0, -2500.0]

    @pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", "1e999"])
    def test_values_must_be_finite(self, cell: str) -> None:
        assert "not finite" in refusal(InvalidField, f"text,label\na,{cell}\n", "regression")

    def test_a_cell_that_is_no_number_is_named_but_not_repeated(self) -> None:
        message = refusal(InvalidField, "text,label\na,1\nb,my secret\n", "regression")
        assert "line 3" in message
        assert "secret" not in message

    @pytest.mark.parametrize("header", ["text", "label", "a,b", "text,text,label", "Text,Label"])
    def test_the_columns_must_be_there_once(self, header: str) -> None:
        assert "one column" in refusal(InvalidField, f"{header}\nx,y,z\n")

    @pytest.mark.parametrize("row", ["a", "a,x,z", ","])
    def test_ragged_and_empty_rows_name_their_line(self, row: str) -> None:
        message = refusal(ApiError, f"text,label\nfine,x\n{row}\n")
        assert "line 3" in message or "[1]" in message

    @pytest.mark.parametrize("data", ["", "\n", "\ufeff"])
    def test_an_empty_file_lacks_its_header(self, data: str) -> None:
        assert "one column 'text'" in refusal(InvalidField, data)

    def test_a_header_alone_holds_no_examples(self) -> None:
        assert "no examples" in refusal(BadRequest, "text,label\n")

    def test_an_unclosed_quote_is_refused(self) -> None:
        assert "line" in refusal(BadRequest, 'text,label\n"open,x\n')

    @pytest.mark.parametrize("cell", ["", "x" * (MAX_LABEL_CHARS + 1)])
    def test_labels_have_a_length(self, cell: str) -> None:
        message = refusal(InvalidField, f"text,label\na,{cell}\n")
        assert f"1 to {MAX_LABEL_CHARS}" in message

    @given(
        st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
                st.text("xyz", min_size=1),
            ).filter(lambda row: row[0] and not row[0].isspace()),
            min_size=1,
        )
    )
    def test_what_python_writes_is_read(self, rows: list[tuple[str, str]]) -> None:
        file = io.StringIO(newline="")
        csv.writer(file).writerows([("text", "label"), *rows])
        examples = read(file.getvalue())
        assert list(zip(examples.texts, examples.targets, strict=True)) == rows


class TestJsonl:
    def test_one_object_a_line(self) -> None:
        data = '{"text": "a", "label": "x"}\r\n\n{"label": "y", "text": "b"}'
        for name in ("f.jsonl", "F.NDJSON"):
            assert read(data, filename=name) == Examples(["a", "b"], ["x", "y"])

    @pytest.mark.parametrize("separator", "\u2028\u2029\x85")
    def test_other_line_separators_belong_to_the_text(self, separator: str) -> None:
        line = '{"text": "a#b", "label": "x"}'.replace("#", separator)
        assert read(line, filename="x.jsonl").texts == [f"a{separator}b"]

    def test_multi_label_and_regression(self) -> None:
        multi = read('{"text": "a", "labels": ["x", "y"]}', "multi_label", "x.jsonl")
        assert multi.targets == [["x", "y"]]
        assert read('{"text": "a", "value": 2}', "regression", "x.jsonl").targets == [2.0]

    @pytest.mark.parametrize(
        "line",
        [
            "{",
            "[]",
            "null",
            '"x"',
            '{"text": "a"}',
            '{"text": "a", "label": 1}',
            '{"text": 1, "label": "x"}',
            '{"label": "x"}',
            '{"text": "a", "label": "x", "more": 1}',
            '{"text": "\\ud800", "label": "x"}',
            '{"text": "a", "labels": ["x"]}',
            "[" * 100_000,
        ],
        ids=lambda line: line[:30],
    )
    def test_bad_lines_are_named_and_not_repeated(self, line: str) -> None:
        message = refusal(ApiError, '{"text": "fine", "label": "x"}\n' + line, filename="x.jsonl")
        assert "line 2" in message or "[1]" in message

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"many"', "null"])
    def test_values_must_be_finite_numbers(self, value: str) -> None:
        refusal(InvalidField, f'{{"text": "a", "value": {value}}}', "regression", "x.jsonl")

    def test_an_empty_file_holds_no_examples(self) -> None:
        assert "no examples" in refusal(BadRequest, " \n", filename="x.jsonl")

    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(
                lambda text: text.strip() != ""
            ),
            min_size=1,
        ),
        st.booleans(),
    )
    def test_what_python_writes_is_read(self, texts: list[str], ascii_only: bool) -> None:
        lines = [
            json.dumps({"text": text, "label": "x"}, ensure_ascii=ascii_only) for text in texts
        ]
        assert read("\n".join(lines), filename="x.jsonl").texts == texts


class TestBytes:
    @pytest.mark.parametrize("filename", ["x.csv", "x.tsv", "x.jsonl"])
    def test_bad_utf8_and_nul(self, filename: str) -> None:
        data = b"text,label\n\xff\xfe,x\n"
        assert "byte 11" in refusal(BadRequest, data, filename=filename)
        assert "NUL" in refusal(BadRequest, b"text,label\na\x00b,x\n", filename=filename)

    @pytest.mark.parametrize("filename", ["", "x", "x.txt", "csv", "x.csv.zip", "x.xlsx"])
    def test_other_files_are_refused(self, filename: str) -> None:
        assert ".csv, .tsv or .jsonl" in refusal(InvalidField, "a", filename=filename)

    @given(
        st.one_of(
            st.binary(max_size=80),
            st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.text('",;\t\n\r|ab01', max_size=80).map(lambda rows: f"text,label\n{rows}".encode()),
            st.text('",;\t\n\r|ab', max_size=80).map(str.encode),
        ),
        st.sampled_from(["x.csv", "x.tsv", "x.jsonl"]),
        st.sampled_from(KINDS),
    )
    def test_arbitrary_bytes_give_examples_or_an_api_error(
        self, data: bytes, filename: str, kind: TaskKind
    ) -> None:
        with suppress(ApiError):
            examples = read(data, kind, filename)
            assert len(examples.texts) == len(examples.targets) > 0
            with suppress(ApiError):
                labels = label_names(examples, kind, [])
                assert len(target_array(examples, kind, labels)) == len(examples)


class TestJson:
    def test_each_kind_reads_its_field(self) -> None:
        example = Example(text="t", label="a", labels=["b", "c"], value=0.0)
        assert [from_json([example], kind).targets for kind in KINDS] == [
            ["a"],
            [["b", "c"]],
            [0.0],
        ]

    @pytest.mark.parametrize(
        ("kind", "where"),
        [
            ("single_label", "test_examples[1].label"),
            ("multi_label", "test_examples[1].labels"),
            ("regression", "test_examples[1].value"),
        ],
    )
    def test_a_missing_target_is_named(self, kind: TaskKind, where: str) -> None:
        full = Example(text="t", label="a", labels=["a"], value=1.0)
        with pytest.raises(InvalidField) as caught:
            from_json([full, Example(text="secret")], kind, "test_examples")
        assert caught.value.param == where
        assert "secret" not in caught.value.message

    @pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
    def test_empty_texts_are_named(self, text: str) -> None:
        with pytest.raises(BadRequest, match=r"examples\[0\]") as caught:
            from_json([Example(text=text, label="a")], "single_label")
        assert caught.value.code == "empty_input"

    def test_labels_of_a_multi_label_row_have_a_length(self) -> None:
        with pytest.raises(InvalidField, match="characters"):
            from_json([Example(text="t", labels=["fine", ""])], "multi_label")

    def test_a_row_may_have_no_labels(self) -> None:
        assert from_json([Example(text="t", labels=[])], "multi_label").targets == [[]]


class TestLabels:
    def test_given_labels_keep_their_order(self) -> None:
        assert label_names(Examples(["t"], ["b"]), "single_label", ["b", "a"]) == ["b", "a"]

    def test_found_labels_are_sorted(self) -> None:
        assert label_names(Examples(["t"] * 3, ["b", "a", "b"]), "single_label", []) == ["a", "b"]
        multi = Examples(["t"] * 2, [["c", "a"], []])
        assert label_names(multi, "multi_label", []) == ["a", "c"]

    def test_unknown_labels_are_refused(self) -> None:
        with pytest.raises(InvalidField, match="'c' is not one of the task's 2 labels") as caught:
            label_names(Examples(["t"] * 2, ["a", "c"]), "single_label", ["a", "b"])
        assert caught.value.code == "unknown_label"

    def test_a_label_in_a_message_is_cut(self) -> None:
        with pytest.raises(InvalidField) as caught:
            label_names(Examples(["t"], ["x" * 250]), "single_label", ["a", "b"])
        assert len(caught.value.message) < 160

    @pytest.mark.parametrize(
        ("kind", "targets"),
        [("single_label", ["a", "a"]), ("multi_label", [[], []])],
    )
    def test_too_few_labels(self, kind: TaskKind, targets: list[Any]) -> None:
        with pytest.raises(InvalidField, match="two labels"):
            label_names(Examples(["t"] * 2, targets), kind, [])

    def test_too_many_labels(self) -> None:
        many = [str(number) for number in range(MAX_LABELS + 1)]
        with pytest.raises(InvalidField, match=str(MAX_LABELS)):
            label_names(Examples(many, many), "single_label", [])

    def test_a_regression_has_one_output(self) -> None:
        assert label_names(Examples(["t"], [1.0]), "regression", ["x", "y"]) == ["value"]

    def test_target_arrays(self) -> None:
        single = target_array(Examples(["t"] * 3, ["b", "a", "b"]), "single_label", ["a", "b"])
        assert (single.dtype, single.tolist()) == (np.int64, [1, 0, 1])
        multi = Examples(["t"] * 3, [["b", "a"], [], ["b", "b"]])
        assert target_array(multi, "multi_label", ["a", "b"]).tolist() == [[1, 1], [0, 0], [0, 1]]
        values = target_array(Examples(["t"] * 2, [1.5, -2]), "regression", ["value"])
        assert (values.dtype, values.tolist()) == (np.float64, [1.5, -2.0])


def test_values_have_a_bound() -> None:
    """Past it the products of training overflow, and the head would be of NaNs."""
    assert "within" in refusal(InvalidField, "text,label\na,1e200\n", "regression")
