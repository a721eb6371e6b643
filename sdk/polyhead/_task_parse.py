"""Decoded JSON to tasks, versions, jobs and reports. Pure."""

from __future__ import annotations

from ._parse import usage
from ._read import Fields, as_bool, as_float, as_int, as_map, as_text, list_of, map_of
from ._report_types import (
    Base,
    Calibration,
    CalibrationBin,
    Confusion,
    Coverage,
    Interval,
    LabelReport,
    Report,
    Seconds,
)
from ._task_types import (
    ChangedRow,
    ComparedVersion,
    Comparison,
    Job,
    JobError,
    McNemar,
    Task,
    TaskVersion,
    VersionSettings,
    VersionSummary,
)


def _label_report(value: object, where: str) -> LabelReport:
    fields = Fields(value, where)
    return LabelReport(
        label=fields.need("label", as_text),
        precision=fields.need("precision", as_float),
        recall=fields.need("recall", as_float),
        f1=fields.need("f1", as_float),
        support=fields.need("support", as_int),
    )


def _confusion(value: object, where: str) -> Confusion:
    fields = Fields(value, where)
    return Confusion(
        labels=fields.need("labels", list_of(as_text)),
        matrix=fields.need("matrix", list_of(list_of(as_int))),
    )


def _seconds(value: object, where: str) -> Seconds:
    fields = Fields(value, where)
    return Seconds(encode=fields.maybe("encode", as_float), fit=fields.maybe("fit", as_float))


def _interval(value: object, where: str) -> Interval:
    fields = Fields(value, where)
    return Interval(
        mean=fields.need("mean", as_float),
        low=fields.need("low", as_float),
        high=fields.need("high", as_float),
    )


def _calibration_bin(value: object, where: str) -> CalibrationBin:
    fields = Fields(value, where)
    return CalibrationBin(
        start=fields.need("from", as_float),
        stop=fields.need("to", as_float),
        count=fields.need("count", as_int),
        confidence=fields.need("confidence", as_float),
        accuracy=fields.need("accuracy", as_float),
    )


def _calibration(value: object, where: str) -> Calibration:
    fields = Fields(value, where)
    return Calibration(
        method=fields.need("method", as_text),
        temperature=fields.need("temperature", as_float),
        ece_before=fields.need("ece_before", as_float),
        ece_after=fields.need("ece_after", as_float),
        bins=fields.maybe("bins", list_of(_calibration_bin)) or (),
    )


def _coverage(value: object, where: str) -> Coverage:
    fields = Fields(value, where)
    return Coverage(
        min_confidence=fields.need("min_confidence", as_float),
        coverage=fields.need("coverage", as_float),
        accuracy=fields.maybe("accuracy", as_float),
    )


def _base(value: object, where: str) -> Base:
    fields = Fields(value, where)
    return Base(
        version=fields.need("version", as_int),
        rows=fields.need("rows", as_int),
        replaced=fields.need("replaced", as_int),
    )


def _report(value: object, where: str) -> Report:
    fields = Fields(value, where)
    return Report(
        kind=fields.need("kind", as_text),
        head=fields.need("head", as_text),
        n_train=fields.need("n_train", as_int),
        n_test=fields.need("n_test", as_int),
        test_source=fields.need("test_source", as_text),
        accuracy=fields.maybe("accuracy", as_float),
        accuracy_interval=fields.maybe("accuracy_interval", list_of(as_float)),
        macro_f1=fields.maybe("macro_f1", as_float),
        majority_accuracy=fields.maybe("majority_accuracy", as_float),
        gain_over_majority=fields.maybe("gain_over_majority", _interval),
        mae=fields.maybe("mae", as_float),
        r2=fields.maybe("r2", as_float),
        per_class=fields.maybe("per_class", list_of(_label_report)) or (),
        confusion=fields.maybe("confusion", _confusion),
        thresholds=fields.maybe("thresholds", map_of(as_float)),
        coverage=fields.maybe("coverage", list_of(_coverage)) or (),
        calibration=fields.maybe("calibration", _calibration),
        base=fields.maybe("base", _base),
        warnings=fields.maybe("warnings", list_of(as_text)) or (),
        hyperparameters=fields.maybe("hyperparameters", as_map) or {},
        usage=fields.maybe("usage", usage),
        seconds=fields.maybe("seconds", _seconds),
    )


def _summary(value: object, where: str) -> VersionSummary:
    fields = Fields(value, where)
    return VersionSummary(
        version=fields.need("version", as_int),
        head=fields.need("head", as_text),
        encoder=fields.need("encoder", as_text),
        created_at=fields.need("created_at", as_float),
        active=fields.need("active", as_bool),
        accuracy=fields.maybe("accuracy", as_float),
        macro_f1=fields.maybe("macro_f1", as_float),
    )


def task(value: object, where: str = "answer") -> Task:
    """One task."""
    fields = Fields(value, where)
    return Task(
        name=fields.need("name", as_text),
        kind=fields.need("kind", as_text),
        labels=fields.maybe("labels", list_of(as_text)) or (),
        ready_made=fields.need("ready_made", as_bool),
        created_at=fields.need("created_at", as_float),
        versions=fields.need("versions", list_of(_summary)),
        active_version=fields.maybe("active_version", as_int),
        shadow_version=fields.maybe("shadow_version", as_int),
        description=fields.maybe("description", as_text),
        card=fields.maybe("card", as_map),
    )


def tasks(value: object) -> list[Task]:
    """The answer of `GET /v1/tasks`."""
    return list(Fields(value, "answer").need("data", list_of(task)))


def deleted(value: object) -> None:
    """The answer of `DELETE /v1/tasks/{task}`: only that it is an object is checked."""
    Fields(value, "answer")


def _settings(value: object, where: str) -> VersionSettings:
    fields = Fields(value, where)
    return VersionSettings(
        min_confidence=fields.maybe("min_confidence", as_float),
        thresholds=fields.maybe("thresholds", map_of(as_float)),
        coverage=fields.maybe("coverage", as_float),
        accuracy=fields.maybe("accuracy", as_float),
    )


def version(value: object) -> TaskVersion:
    """One head version."""
    fields = Fields(value, "answer")
    return TaskVersion(
        task=fields.need("task", as_text),
        version=fields.need("version", as_int),
        kind=fields.need("kind", as_text),
        head=fields.need("head", as_text),
        encoder=fields.need("encoder", as_text),
        labels=fields.maybe("labels", list_of(as_text)) or (),
        created_at=fields.need("created_at", as_float),
        active=fields.need("active", as_bool),
        settings=fields.maybe("settings", _settings) or VersionSettings(),
        report=fields.maybe("report", _report),
    )


def _compared(value: object, where: str) -> ComparedVersion:
    fields = Fields(value, where)
    return ComparedVersion(
        version=fields.need("version", as_int),
        accuracy=fields.maybe("accuracy", as_float),
        mae=fields.maybe("mae", as_float),
    )


def _mcnemar(value: object, where: str) -> McNemar:
    fields = Fields(value, where)
    return McNemar(
        only_a=fields.need("only_a", as_int),
        only_b=fields.need("only_b", as_int),
        p_value=fields.need("p_value", as_float),
    )


def _label_or_labels(value: object, where: str) -> str | tuple[str, ...]:
    return as_text(value, where) if isinstance(value, str) else list_of(as_text)(value, where)


def _changed(value: object, where: str) -> ChangedRow:
    fields = Fields(value, where)
    return ChangedRow(
        version=fields.need("version", as_int),
        part=fields.need("part", as_text),
        row=fields.need("row", as_int),
        truth=fields.need("truth", _label_or_labels),
        a=fields.need("a", _label_or_labels),
        b=fields.need("b", _label_or_labels),
    )


def comparison(value: object) -> Comparison:
    """The answer of `POST /v1/tasks/{task}/versions/compare`."""
    fields = Fields(value, "answer")
    return Comparison(
        task=fields.need("task", as_text),
        a=fields.need("a", _compared),
        b=fields.need("b", _compared),
        rows=fields.need("rows", as_int),
        excluded=fields.need("excluded", as_int),
        difference=fields.need("difference", _interval),
        mcnemar=fields.maybe("mcnemar", _mcnemar),
        changed=fields.maybe("changed", list_of(_changed)) or (),
        changed_count=fields.need("changed_count", as_int),
    )


def _job_error(value: object, where: str) -> JobError:
    fields = Fields(value, where)
    return JobError(
        message=fields.need("message", as_text),
        type=fields.maybe("type", as_text),
        param=fields.maybe("param", as_text),
        code=fields.maybe("code", as_text),
    )


def job(value: object, where: str = "answer") -> Job:
    """One job."""
    fields = Fields(value, where)
    return Job(
        id=fields.need("id", as_text),
        task=fields.need("task", as_text),
        status=fields.need("status", as_text),
        stage=fields.need("stage", as_text),
        progress=fields.need("progress", as_float),
        created_at=fields.need("created_at", as_float),
        version=fields.maybe("version", as_int),
        report=fields.maybe("report", _report),
        error=fields.maybe("error", _job_error),
        finished_at=fields.maybe("finished_at", as_float),
        kind=fields.maybe("kind", as_text) or "training",  # a service of before tells none
    )


def jobs(value: object) -> list[Job]:
    """The answer of `GET /v1/jobs`."""
    return list(Fields(value, "answer").need("data", list_of(job)))
