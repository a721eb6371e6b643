"""app.tasks.storage.index and .url: keys, the index as JSON, and changes to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Conflict, NotFound
from app.schemas import VersionSettings
from app.tasks.storage import index as changes
from app.tasks.storage.index import (
    DIGITS,
    NOTHING,
    Index,
    IndexDamaged,
    Revision,
    VersionRecord,
    file_key,
    revision_key,
    revision_number,
    revision_of_bytes,
)
from app.tasks.storage.url import parse_registry_url
from models.artifact import MANIFEST
from models.example_rows import EXAMPLES
from models.head_artifact import WEIGHTS
from models.reference import REFERENCE

numbers = st.integers(1, 10**DIGITS - 1)
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
ids = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
versions = st.builds(
    VersionRecord,
    id=ids,
    digests=st.dictionaries(
        st.sampled_from([MANIFEST, WEIGHTS, EXAMPLES, REFERENCE]), st.just("ab" * 32)
    ),
)


def steps(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Changes as they may come, those that cannot be made among them."""
    some = st.integers(1, 6)
    return st.lists(
        st.one_of(
            st.tuples(st.just("create"), names),
            st.tuples(st.just("delete"), names),
            st.tuples(st.just("add"), names, versions, st.booleans()),
            st.tuples(st.just("active"), names, some),
            st.tuples(st.just("shadow"), names, st.none() | some),
            st.tuples(st.just("remove"), names, some),
            st.tuples(st.just("configure"), names, some, st.floats(0, 1)),
        ),
        max_size=40,
    )


def apply(index: Index, step: tuple[Any, ...], now: float) -> Index:
    what, name, *rest = step
    if what == "create":
        return changes.create(index, name, "single_label", ["a", "b"], None, False, now)
    if what == "delete":
        return changes.delete(index, name)
    if what == "add":
        return changes.add_version(index, name, rest[0], ("a", "b"), None, rest[1])
    if what in ("active", "shadow"):
        return changes.point(index, name, what, rest[0])
    if what == "remove":
        return changes.delete_version(index, name, rest[0])
    return changes.configure(index, name, rest[0], VersionSettings(min_confidence=rest[1]))


class TestKeys:
    @given(numbers)
    def test_a_revisions_number_is_read_from_its_key(self, number: int) -> None:
        assert revision_number(revision_key(number).rpartition("/")[2]) == number

    @given(numbers, numbers)
    def test_keys_sort_as_numbers_do(self, one: int, other: int) -> None:
        assert (revision_key(one) < revision_key(other)) == (one < other)

    @given(st.text(max_size=30))
    def test_other_names_are_no_revisions(self, name: str) -> None:
        number = revision_number(name)
        assert number is None or revision_key(number or 1).endswith(name) or number == 0

    @pytest.mark.parametrize("number", [0, -1, 10**DIGITS])
    def test_numbers_that_no_revision_has(self, number: int) -> None:
        with pytest.raises(ValueError, match="number"):
            revision_key(number)

    @given(versions, versions)
    def test_files_of_two_versions_never_share_a_key(
        self, one: VersionRecord, other: VersionRecord
    ) -> None:
        if one.id != other.id:
            assert file_key(one, WEIGHTS) != file_key(other, WEIGHTS)


class TestIndex:
    @given(steps(st.sampled_from(["a", "b"])))
    def test_whatever_is_done_it_holds_together(self, todo: list[tuple[Any, ...]]) -> None:
        index, given_numbers = Index(), dict[tuple[str, float], int]()
        for now, step in enumerate(todo):
            try:
                index = apply(index, step, float(now))
            except (NotFound, Conflict):
                continue
            for name, task in index.tasks.items():
                assert task.active is None or task.active in task.versions
                assert task.shadow is None or task.shadow in task.versions
                assert task.shadow is None or step[0] != "active" or task.shadow != task.active
                assert all(number < task.next_number for number in task.versions)
                key = (name, task.created_at)
                assert task.next_number >= given_numbers.get(key, 1)  # none is given again
                given_numbers[key] = task.next_number
        revision = Revision(number=1, written="0" * 32, at=1.0, index=index)
        assert revision_of_bytes(revision.to_bytes()) == revision

    @given(names, versions)
    def test_what_changes_nothing_returns_the_same_index(
        self, name: str, version: VersionRecord
    ) -> None:
        index = changes.create(Index(), name, "regression", None, "x", False, 1.0)
        assert changes.create(index, name, "regression", None, None, False, 2.0) is index
        index = changes.add_version(index, name, version, ("value",), "m1", True)
        assert changes.add_version(index, name, version, ("value",), "m1", True) is index
        assert changes.point(index, name, "active", 1) is index
        assert changes.point(index, name, "shadow", None) is index

    def test_nothing_is_revision_zero(self) -> None:
        assert (NOTHING.number, NOTHING.index.tasks) == (0, {})


class TestDamage:
    @given(st.binary(max_size=200))
    def test_bytes_of_anybody(self, data: bytes) -> None:
        with pytest.raises(IndexDamaged):
            revision_of_bytes(data)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("format",), "polyhead.registry/2"),
            (("number",), -1),
            (("index", "tasks", "a", "versions", "1", "id"), "../" * 10 + "00"),
            (("index", "tasks", "a", "versions", "1", "id"), "0" * 32 + "\n"),
            (("index", "tasks", "a", "versions", "1", "digests"), {"../x": "ab" * 32}),
            (("index", "tasks", "a", "versions", "1", "digests"), {WEIGHTS: "short"}),
            (("index", "tasks", "a", "created_at"), "Infinity"),
            (("index", "tasks", "a", "kind"), "guess"),
            (("index", "tasks", "a", "more"), 1),
        ],
        ids=str,
    )
    def test_what_must_not_be_followed(self, path: tuple[str, ...], value: Any) -> None:
        index = changes.create(Index(), "a", "single_label", ["x", "y"], None, False, 1.0)
        record = VersionRecord(id="0" * 32, digests={"weights.safetensors": "ab" * 32})
        index = changes.add_version(index, "a", record, ("x", "y"), None, True)
        data = json.loads(Revision(number=1, written="0" * 32, at=1.0, index=index).to_bytes())
        assert revision_of_bytes(json.dumps(data).encode()).index == index
        place = data
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        with pytest.raises(IndexDamaged):
            revision_of_bytes(json.dumps(data).encode())


class TestUrls:
    @pytest.mark.parametrize(
        "url", ["s3://bucket", "s3://bucket/some/prefix", "gs://b-1/x", "az://abc/x=1/y.z"]
    )
    def test_good_ones(self, url: str) -> None:
        assert str(parse_registry_url(url)) == url
        assert str(parse_registry_url(url + "/")) == url

    def test_a_folder(self) -> None:
        assert parse_registry_url("file:///some/folder").path == "/some/folder"

    @pytest.mark.parametrize(
        "url",
        [
            "/folder",
            "file://folder",
            "http://bucket/x",
            "s3:bucket",
            "s3://",
            "s3://name:hunter2@bucket/x",
            "s3://bucket/x?key=hunter2",
            "s3://bucket/../x",
            "s3://bucket//x",
            "s3://bucket/*",
            "s3://bucket/[x]",
            "memory://hunter2",
        ],
    )
    def test_bad_ones_are_not_repeated(self, url: str) -> None:
        with pytest.raises(ValueError) as caught:
            parse_registry_url(url)
        assert "hunter2" not in str(caught.value)
