"""The surface: names, signatures, imports, errors."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import polyhead

PACKAGE = Path(polyhead.__file__).parent


def test_all_is_exactly_what_is_public():
    public = {
        name
        for name, value in vars(polyhead).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(polyhead.__all__) == public | {"__version__"}
    assert len(polyhead.__all__) == len(set(polyhead.__all__))


def test_every_public_thing_is_documented():
    for name in polyhead.__all__:
        thing = getattr(polyhead, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name


@pytest.mark.parametrize(
    ("sync", "awaited"),
    [
        (polyhead.Client, polyhead.AsyncClient),
        (polyhead.Tasks, polyhead.AsyncTasks),
        (polyhead.Jobs, polyhead.AsyncJobs),
        (polyhead.Tasks.__base__, polyhead.AsyncTasks.__base__),
    ],
)
def test_both_clients_have_the_same_methods(sync, awaited):
    def methods(cls):
        return {
            name.replace("aclose", "close"): value
            for name, value in vars(cls).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }

    ours, theirs = methods(sync), methods(awaited)
    assert set(ours) == set(theirs)
    for name in ours:
        assert inspect.iscoroutinefunction(theirs[name]), name
        here, there = inspect.signature(ours[name]), inspect.signature(theirs[name])
        assert list(here.parameters.values()) == list(there.parameters.values()), name
        assert here.return_annotation == there.return_annotation, name
        assert inspect.getdoc(ours[name]) == inspect.getdoc(theirs[name]), name


def test_both_constructors_take_the_same():
    names = [
        list(inspect.signature(cls).parameters) for cls in (polyhead.Client, polyhead.AsyncClient)
    ]
    assert names[0] == names[1]


def test_import_loads_nothing_heavy():
    heavy = ("torch", "fastapi", "numpy", "pydantic", "pydantic_settings", "tqdm", "app", "models")
    code = f"import sys, polyhead; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "needs", "unwanted"),
    [
        ("polyhead.frames", "httpx", ("pandas", "polars", "numpy")),
        ("polyhead.cli", "typer", ("pyarrow", "numpy", "pandas")),
    ],
)
def test_extras_load_only_what_they_need(module, needs, unwanted):
    pytest.importorskip(needs)
    code = f"import sys, {module}; print([m for m in {unwanted} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"


def test_every_file_is_short():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 300, path.name


def error_classes(root=polyhead.PolyheadError):
    for cls in root.__subclasses__():
        yield cls
        yield from error_classes(cls)


def test_the_drawn_tree_is_the_real_one():
    from polyhead import _errors

    for cls in error_classes():
        if not cls.__name__.startswith("_"):
            assert cls.__name__ in _errors.__doc__
            assert cls.__name__ in polyhead.__all__
    assert issubclass(polyhead.ServiceUnreachable, ConnectionError)
    assert issubclass(polyhead.Timeout, TimeoutError)


def job(**fields):
    required = {"id": "job-1", "task": "topic", "status": "failed", "stage": "fitting"}
    return polyhead.Job(**{**required, "progress": 0.5, "created_at": 1.0, **fields})


@pytest.mark.parametrize(
    "error",
    [
        polyhead.ServiceUnreachable("gone"),
        polyhead.Timeout("slow"),
        polyhead.ProtocolError("odd"),
        polyhead.NotFound(404, "no task", "t", "task", "task_not_found", "req-1"),
        polyhead.Overloaded(429, "busy", None, None, None, None, 1.5),
        polyhead.JobFailed(job(error=polyhead.JobError("no examples"))),
    ],
)
def test_errors_survive_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_errors_say_what_helps():
    error = polyhead.NotFound(404, "no task x", "t", "task", "task_not_found", "req-1")
    details = "(status 404, param task, code task_not_found, request id req-1)"
    assert str(error) == f"no task x {details}"
    assert str(polyhead.APIError(418, "teapot")) == "teapot (status 418)"
    failed = polyhead.JobFailed(job(error=polyhead.JobError("one label only")))
    assert str(failed) == "job job-1 of task 'topic' failed: one label only"
    assert str(polyhead.JobFailed(job())).endswith("failed: status failed")


def test_results_are_sequences():
    items = tuple(polyhead.Code(str(i), b"", False) for i in range(3))
    codes = polyhead.Codes(items=items, usage=polyhead.Usage(), bits=0, encoder="f")
    assert len(codes) == 3
    assert codes[-1].key == "2"
    assert [code.key for code in codes] == ["0", "1", "2"]
    assert codes[:2] == list(items[:2])
    assert items[1] in codes
    assert pickle.loads(pickle.dumps(codes)) == codes
    with pytest.raises(AttributeError):
        codes.bits = 1
    with pytest.raises(IndexError):
        codes[3]


def test_usage_adds_and_unknown_stays_unknown():
    usage = polyhead.Usage
    assert usage(1, 2, 3, 4, 5) + usage(10, 20, 30, 40, 50) == usage(11, 22, 33, 44, 55)
    for known, unknown in ((usage(1, 1, 1, 1, 1), usage()), (usage(), usage(1, 1, 1, 1, 1))):
        assert known + unknown == usage()
