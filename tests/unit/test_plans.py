"""app.tasks.plans: which heads answer, and how, against one head at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Conflict, NotFound
from app.schemas import VersionSettings
from app.tasks.plans import DIGITS, MAX_PLANS, obstacle, plan_for
from app.tasks.state import Snapshot, TaskState
from models.codes import Codes
from models.head_artifact import HeadManifest
from models.head_runtime import Head, HeadStack, LinearHead, MLPHead, TaskKind

BITS = 16
State = Callable[..., TaskState]


def random_head(outputs: int, seed: int = 0, *, mlp: bool = False) -> Head:
    rng = np.random.default_rng(seed)

    def linear(width: int, height: int) -> LinearHead:
        weight = rng.normal(size=(width, height)).astype(np.float32)
        return LinearHead(weight, rng.normal(size=height).astype(np.float32))

    if not mlp:
        return linear(BITS, outputs)
    hidden = linear(BITS, 4)
    return MLPHead(hidden.weight, hidden.bias, linear(4, outputs))


@pytest.fixture
def state(make_manifest: Callable[..., HeadManifest]) -> State:
    """A task whose version 3 is active."""

    def make(
        name: str,
        kind: TaskKind = "single_label",
        labels: tuple[str, ...] = ("a", "b", "c"),
        *,
        head: Head | None = None,
        active: int | None = 3,
        encoder: str = "f1",
        bits: int = BITS,
        thresholds: tuple[float, ...] | None = None,
        **settings: Any,
    ) -> TaskState:
        manifest = make_manifest(
            kind=kind, labels=labels, bits=bits, encoders={encoder: {}}, thresholds=thresholds
        )
        return TaskState(
            name=name,
            kind=kind,
            labels=labels,
            description=None,
            ready_made=False,
            created_at=0.0,
            versions=MappingProxyType({3: manifest}),
            active=active,
            head=None if active is None else head or random_head(len(labels), len(name)),
            settings=MappingProxyType({3: VersionSettings(**settings)}),
        )

    return make


def snapshot(*states: TaskState) -> Snapshot:
    return Snapshot(MappingProxyType({state.name: state for state in states}))


def expected_answer(state: TaskState, code: bytes, with_scores: bool) -> Mapping[str, Any]:
    """The reference: one head, one code."""
    assert state.head is not None
    array = np.frombuffer(code, dtype=np.uint8)[None]
    [scores] = HeadStack([state.head], [state.kind]).scores(array).astype(float)
    answer: dict[str, Any] = {"version": 3}
    if state.kind == "regression":
        return answer | {"value": pytest.approx(scores[0], abs=1e-5)}
    if state.kind == "single_label":
        best = int(np.argmax(scores))
        answer |= {"label": state.labels[best], "score": pytest.approx(scores[best], abs=1e-5)}
    else:
        chosen = [name for name, p in zip(state.labels, scores, strict=True) if p > 0.5]
        answer |= {"labels": chosen}
    if with_scores:
        by_label = dict(zip(state.labels, scores, strict=True))
        answer |= {"scores": {label: pytest.approx(p, abs=1e-5) for label, p in by_label.items()}}
    return answer


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("kinds", [("single_label",) * 4, ("single_label", "multi_label") * 2])
@pytest.mark.parametrize("regression", [False, True])
def test_predictions_equal_those_of_each_head_alone(
    state: State,
    random_codes: Callable[..., Codes],
    with_scores: bool,
    kinds: tuple[TaskKind, ...],
    regression: bool,
) -> None:
    states = [
        state(f"t{n}", kind, tuple("abcdef"[: n + 2]), head=random_head(n + 2, n, mlp=n % 2 == 0))
        for n, kind in enumerate(kinds)
    ]
    if regression:
        states.insert(1, state("size", "regression", ("value",)))
    codes = [row.tobytes() for row in random_codes(12, BITS)]
    plan = plan_for(snapshot(*states), None, "f1", BITS)
    answers = plan.predict(codes, with_scores)
    assert len(answers) == len(codes)
    for code, answer in zip(codes, answers, strict=True):
        assert list(answer) == [one.name for one in states]
        for one in states:
            assert answer[one.name] == expected_answer(one, code, with_scores)


def one_label_task(number: int, labels: tuple[str, ...]) -> TaskState:
    manifest = HeadManifest("single_label", "linear", labels, BITS, {"f1": {}}, 1.0)
    return TaskState(
        name=f"t{number}",
        kind="single_label",
        labels=labels,
        description=None,
        ready_made=False,
        created_at=0.0,
        versions=MappingProxyType({3: manifest}),
        active=3,
        head=random_head(len(labels), number, mlp=number % 2 == 0),
    )


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(
    st.lists(st.lists(NAMES, min_size=1, max_size=5, unique=True), min_size=1, max_size=6),
    st.integers(1, 30),
    st.booleans(),
)
def test_what_is_written_is_what_json_makes_of_the_predictions(
    labels: list[list[str]], rows: int, with_scores: bool
) -> None:
    """The reference: `json.loads` of what is written, and `predict`."""
    random = np.random.default_rng(len(labels))
    states = [one_label_task(number, tuple(names)) for number, names in enumerate(labels)]
    plan = plan_for(snapshot(*states), None, "f1", BITS)
    codes = [random.bytes(BITS // 8) for _ in range(rows)]
    written = json.loads(orjson.dumps(list(plan.written(codes, with_scores))))
    expected = plan.predict(codes, with_scores)
    assert written == expected
    assert [list(row) for row in written] == [list(row) for row in expected]


def test_dicts_are_given_where_somebody_looks_into_them(state: State) -> None:
    careful = plan_for(snapshot(state("t", min_confidence=0.99)), None, "f1", BITS)
    assert careful.pieces is None
    tags = plan_for(snapshot(state("t"), state("u", "multi_label")), None, "f1", BITS)
    assert tags.pieces is None
    assert plan_for(snapshot(state("t")), None, "f1", BITS).pieces is not None


def test_scores_are_rounded(state: State, random_codes: Callable[..., Codes]) -> None:
    plan = plan_for(snapshot(state("t")), ["t"], "f1", BITS)
    [answer] = plan.predict([random_codes(1, BITS).tobytes()], True)
    scores = [answer["t"]["score"], *answer["t"]["scores"].values()]
    assert all(score == round(score, DIGITS) for score in scores)
    assert any(score != round(score, DIGITS - 1) for score in scores)


def test_a_tie_goes_to_the_first_label(state: State) -> None:
    head = LinearHead(np.zeros((BITS, 3), np.float32), np.zeros(3, np.float32))
    plan = plan_for(snapshot(state("t", head=head)), ["t"], "f1", BITS)
    [answer] = plan.predict([bytes(BITS // 8)], False)
    assert answer["t"] == {"label": "a", "score": 0.333333, "version": 3}


def test_asked_tasks_come_in_the_asked_order_and_once(state: State) -> None:
    plan = plan_for(snapshot(state("a"), state("b"), state("c")), ["c", "a", "c"], "f1", BITS)
    [answer] = plan.predict([bytes(BITS // 8)], False)
    assert list(answer) == ["c", "a"]
    assert plan.skipped == ()


def test_all_tasks_leave_out_those_that_cannot_answer_and_say_why(state: State) -> None:
    plan = plan_for(
        snapshot(
            state("good"),
            state("idle", active=None),
            state("foreign", encoder="f2"),
            state("wide", bits=32),
        ),
        None,
        "f1",
        BITS,
    )
    [answer] = plan.predict([bytes(BITS // 8)], False)
    assert list(answer) == ["good"]
    reasons = {one["task"]: one["reason"] for one in plan.skipped}
    assert reasons.keys() == {"idle", "foreign", "wide"}
    assert "no active version" in reasons["idle"]
    assert "f1" in reasons["foreign"]
    assert "f2" in reasons["foreign"]


def test_without_any_usable_task_answers_are_empty(state: State) -> None:
    plan = plan_for(snapshot(state("idle", active=None)), None, "f1", BITS)
    assert plan.predict([b"xx", b"yy"], True) == [{}, {}]
    assert plan_for(snapshot(), None, "f1", BITS).predict([b"xx"], False) == [{}]


@pytest.mark.parametrize(
    "fields", [{"active": None}, {"encoder": "f2"}, {"bits": 32}], ids=lambda fields: str(fields)
)
def test_an_asked_task_that_cannot_answer_is_a_conflict(
    state: State, fields: dict[str, Any]
) -> None:
    one = state("t", **fields)
    assert obstacle(one, "f1", BITS) is not None
    with pytest.raises(Conflict, match="'t'") as caught:
        plan_for(snapshot(state("fine"), one), ["fine", "t"], "f1", BITS)
    assert caught.value.code == "head_not_usable"


def test_an_unknown_task_is_not_found_and_its_name_is_cut(state: State) -> None:
    with pytest.raises(NotFound) as caught:
        plan_for(snapshot(state("t")), ["t", "x" * 5000], "f1", BITS)
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("mlp", [False, True])
@pytest.mark.parametrize("with_scores", [False, True])
def test_no_codes_have_no_answers(state: State, mlp: bool, with_scores: bool) -> None:
    plan = plan_for(
        snapshot(state("t", head=random_head(3, mlp=mlp)), state("u")), None, "f1", BITS
    )
    assert plan.predict([], with_scores) == []
    assert plan.written([], with_scores) == []


def test_plans_are_kept_with_their_snapshot_and_bounded(state: State) -> None:
    snap = snapshot(*(state(f"t{n}") for n in range(MAX_PLANS + 5)))
    first = plan_for(snap, ["t0"], "f1", BITS)
    assert plan_for(snap, ["t0"], "f1", BITS) is first
    assert plan_for(snap, None, "f1", BITS) is not first
    for number in range(MAX_PLANS + 5):
        plan_for(snap, [f"t{number}"], "f1", BITS)
    assert len(snap.plans) == MAX_PLANS
    assert plan_for(snap, ["t0"], "f1", BITS) is not first
    assert not snapshot(state("t0")).plans


def test_a_plan_of_one_encoder_is_not_taken_for_another(state: State) -> None:
    snap = snapshot(state("t"))
    plan_for(snap, ["t"], "f1", BITS)
    with pytest.raises(Conflict):
        plan_for(snap, ["t"], "f2", BITS)


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("others", [False, True])
def test_a_version_that_is_not_sure_gives_no_label(
    state: State, random_codes: Callable[..., Codes], with_scores: bool, others: bool
) -> None:
    careful, plain = state("t", min_confidence=0.8), state("t")
    more = [state("tags", "multi_label")] if others else []
    codes = [row.tobytes() for row in random_codes(50, BITS)]
    answers, known = (
        plan_for(snapshot(one, *more), None, "f1", BITS).predict(codes, with_scores)
        for one in (careful, plain)
    )
    unsure = [row["t"]["score"] < 0.8 for row in known]
    assert any(unsure)
    assert not all(unsure)
    for answer, before, abstained in zip(answers, known, unsure, strict=True):
        expected = before["t"] | ({"label": None, "abstained": True} if abstained else {})
        assert answer["t"] == expected
        assert answer.get("tags") == before.get("tags")


def test_labels_are_given_above_their_own_thresholds(
    state: State, random_codes: Callable[..., Codes]
) -> None:
    codes = [row.tobytes() for row in random_codes(40, BITS)]
    trained = state("t", "multi_label", thresholds=(0.1, 0.9, 0.5))
    own = VersionSettings(thresholds={"b": 0.2})
    changed = replace(trained, settings=MappingProxyType({3: own}))
    for one, cuts in ((trained, (0.1, 0.9, 0.5)), (changed, (0.1, 0.2, 0.5))):
        answers = plan_for(snapshot(one), ["t"], "f1", BITS).predict(codes, True)
        for answer in answers:
            shown = answer["t"]["scores"].items()
            given = [label for (label, p), cut in zip(shown, cuts, strict=True) if p > cut]
            assert answer["t"]["labels"] == given
