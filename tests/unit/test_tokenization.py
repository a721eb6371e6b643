"""models.tokenization on a tiny tokenizer, and models.tokens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import ArtifactError
from models.tokenization import MAX_WINDOWS, WINDOW_OVERLAP, LongTexts, TextTokenizer
from models.tokens import Tokens, pad_rows
from tests.unit.tiny import FIRST_WORD, WORDS, words, write_tokenizer

FIRST, LAST = 0, 2  # ids around every window


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def inner_ids(text: str) -> list[int]:
    """Naive: one id a word, no special tokens."""
    return [FIRST_WORD + int(word.removeprefix("w")) for word in text.split()]


def naive_windows(inner: list[int], max_tokens: int, overlap: int) -> list[list[int]]:
    room = max_tokens - 2
    parts, start = [inner[:room]], 0
    while start + room < len(inner):
        start += room - overlap
        parts.append(inner[start : start + room])
    return [[FIRST, *part, LAST] for part in parts]


def lists(tokens: Tokens) -> list[list[int]]:
    return [window.tolist() for window in tokens.windows]


@given(st.integers(0, 60), st.integers(4, 24))
def test_cut_keeps_the_beginning_and_says_so(file: Path, count: int, max_tokens: int) -> None:
    text = words(count)
    [tokens] = TextTokenizer(file, max_tokens)([text])
    assert lists(tokens) == [[FIRST, *inner_ids(text)[: max_tokens - 2], LAST]]
    assert tokens.truncated == (count > max_tokens - 2)
    assert len(tokens) == min(count + 2, max_tokens)
    assert tokens.windows[0].dtype == np.int32


@given(st.integers(0, 400), st.integers(4, 160))
def test_windows_cover_every_token_with_the_overlap(
    file: Path, count: int, max_tokens: int
) -> None:
    text = words(count)
    [tokens] = TextTokenizer(file, max_tokens, long_texts="windows")([text])
    overlap = min(WINDOW_OVERLAP, max_tokens // 4)
    expected = naive_windows(inner_ids(text), max_tokens, overlap)
    assert lists(tokens) == expected[:MAX_WINDOWS]
    assert tokens.truncated == (len(expected) > MAX_WINDOWS)
    assert len(tokens) == sum(map(len, expected[:MAX_WINDOWS]))
    assert all(len(window) <= max_tokens for window in tokens.windows)
    if not tokens.truncated:  # put together again, it is the text
        together = lists(tokens)[0][1:-1]
        for window in lists(tokens)[1:]:
            assert together[-overlap:] == window[1 : 1 + overlap]
            together += window[1 + overlap : -1]
        assert together == inner_ids(text)


def test_the_bound_on_windows(file: Path) -> None:
    tokenize = TextTokenizer(file, 10, long_texts="windows")
    fits = 8 + (MAX_WINDOWS - 1) * (8 - 2)
    full, over, far_over = tokenize([words(fits), words(fits + 1), words(10 * fits)])
    assert [len(one.windows) for one in (full, over, far_over)] == [MAX_WINDOWS] * 3
    assert [one.truncated for one in (full, over, far_over)] == [False, True, True]


@pytest.mark.parametrize("long_texts", ["cut", "windows"])
def test_a_text_within_the_limit_is_the_same_either_way(file: Path, long_texts: LongTexts) -> None:
    texts = [words(8), "", "w1", "unheard-of"]
    tokens = TextTokenizer(file, 10, long_texts=long_texts)(texts)
    assert [lists(one) for one in tokens] == [
        [[FIRST, *inner_ids(words(8)), LAST]],
        [[FIRST, LAST]],
        [[FIRST, FIRST_WORD + 1, LAST]],
        [[FIRST, 3, 3, 3, LAST]],  # one unknown each: "unheard", "-", "of"
    ]
    assert not any(one.truncated for one in tokens)


@pytest.mark.parametrize("long_texts", ["cut", "windows"])
def test_the_prompt_comes_before_every_text(file: Path, long_texts: LongTexts) -> None:
    texts = [words(3), words(20, start=1), ""]
    prompted = TextTokenizer(file, 10, "w5 w6 ", long_texts)(texts)
    plain = TextTokenizer(file, 10, "", long_texts)(["w5 w6 " + text for text in texts])
    assert [lists(one) for one in prompted] == [lists(one) for one in plain]
    assert lists(prompted[0])[0][1:3] == [FIRST_WORD + 5, FIRST_WORD + 6]
    assert prompted[1].truncated == (long_texts == "cut")


def test_no_texts(file: Path) -> None:
    assert TextTokenizer(file, 10, "prompt ")([]) == []


def test_many_threads_get_what_one_gets(file: Path) -> None:
    tokenize = TextTokenizer(file, 12, long_texts="windows")
    calls = [[words(n % 40, start=n) for n in range(first, first + 20)] for first in range(30)]
    alone = [[lists(one) for one in tokenize(texts)] for texts in calls]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(tokenize, calls))
    assert [[lists(one) for one in call] for call in together] == alone


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"model": {"type": "no"}}'])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"cannot read tokenizer\.json"):
        TextTokenizer(tmp_path / "tokenizer.json", 10)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read tokenizer\.json"):
        TextTokenizer(tmp_path / "tokenizer.json", 10)


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=6), max_size=5), st.integers(6, 9))
def test_pad_rows_equals_padding_lists(rows: list[list[int]], length: int) -> None:
    arrays = [np.array(row, dtype=np.int32) for row in rows]
    ids, mask = pad_rows(arrays, length, 7)
    assert ids.dtype == mask.dtype == np.int32
    assert ids.shape == mask.shape == (len(rows), length)
    assert ids.tolist() == [row + [7] * (length - len(row)) for row in rows]
    assert mask.tolist() == [[1] * len(row) + [0] * (length - len(row)) for row in rows]


def test_pad_rows_names_the_row_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="row 1 has 5 tokens, the batch 4"):
        pad_rows([np.arange(4, dtype=np.int32), np.arange(5, dtype=np.int32)], 4, 0)


def test_words_are_as_many_as_was_said() -> None:
    assert len(inner_ids(words(200))) == 200
    assert len(set(inner_ids(words(WORDS)))) == WORDS
