"""Versions over HTTP: few examples, bases, settings, comparisons."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.test_tasks import FRUIT, TOOLS, name, rows, task, train
from tests.conftest import ServiceProcess

__all__ = ["task"]  # a fixture


def passes(service: ServiceProcess) -> float:
    return service.metric("polyhead_encoder_passes_total")


def compare(service: ServiceProcess, task: str, a: int, b: int, status: int = 200) -> Any:
    body = {"a": a, "b": b}
    response = service.http.post(f"/v1/tasks/{task}/versions/compare", json=body)
    assert response.status_code == status, response.text
    return response.json()


def configure(
    service: ServiceProcess, task: str, version: int, status: int = 200, **body: Any
) -> Any:
    response = service.http.patch(f"/v1/tasks/{task}/versions/{version}", json=body)
    assert response.status_code == status, response.text
    return response.json()


@pytest.mark.parametrize("head", ["auto", "prototype", "linear", "mlp"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_few_examples_make_a_head(
    service: ServiceProcess, task: str, head: str, count: int
) -> None:
    words = [(word, "fruit") for word in FRUIT[:count]] + [(word, "tool") for word in TOOLS[:count]]
    examples = [{"text": f"I bought a {word}", "label": label} for word, label in words]
    job = train(service, task, examples=examples, head=head)
    assert job["status"] == "succeeded", job
    report = job["report"]
    assert report["test_source"] == ("none" if count == 1 else "cross_validated")
    assert report["head"] == {"auto": "prototype"}.get(head, head)
    assert report["n_train"] == 2 * count
    asked = service.predict(["I bought a mango", "I bought a chisel"], tasks=[task])["data"]
    labels = [row["predictions"][task]["label"] for row in asked]
    if count == 4 and head != "mlp":
        assert labels == ["fruit", "tool"]
    assert set(labels) <= {"fruit", "tool"}


def test_a_next_version_is_trained_on_stored_codes(service: ServiceProcess, task: str) -> None:
    first = train(service, task, examples=rows(150, seed=21))
    more = rows(50, seed=22)
    before = passes(service)
    second = train(service, task, examples=more, base=1)
    report = second["report"]
    assert second["version"] == 2
    assert report["usage"]["inputs"] == 50  # the old ones are not even looked up
    assert passes(service) - before == len({row["text"] for row in more})
    assert report["base"] == {"version": 1, "rows": 150, "replaced": 0}
    assert report["n_train"] + report["n_test"] == 200
    assert report["n_test"] > first["report"]["n_test"]

    before = passes(service)
    third = train(service, task, base=2, head="mlp")
    assert third["report"]["usage"] == {"inputs": 0, "cached": 0, "encoded": 0}
    assert (third["report"]["n_train"], third["report"]["n_test"]) == (
        report["n_train"],
        report["n_test"],
    )
    corrected = [{**row, "label": "tool"} for row in rows(150, seed=21)[:2]]
    fourth = train(service, task, examples=corrected, base=1)
    assert fourth["report"]["base"]["replaced"] >= 2
    assert passes(service) == before

    compared = compare(service, task, 1, 2)
    # What version 1 held out, version 2 did too; its own new ones version 1 never saw.
    assert compared["rows"] == report["n_test"]
    assert compared["excluded"] == 0


def test_bases_that_cannot_be_had(service: ServiceProcess, task: str) -> None:
    def post(status: int, task: str = task, **body: Any) -> Any:
        response = service.http.post(f"/v1/tasks/{task}/versions", json=body)
        assert response.status_code == status, response.text
        return response.json()["error"]

    assert post(422)["param"] == "examples"
    assert post(422, examples=rows(4), base=0)["param"] == "base"
    assert post(404, examples=rows(4), base=1)["code"] == "version_not_found"
    shipped = post(409, task="sentiment", base=1)
    assert (shipped["param"], shipped["code"]) == ("base", "no_stored_rows")
    response = service.http.post(f"/v1/tasks/{task}/versions", files={"other": ("a.csv", b"a")})
    assert response.status_code == 422


def test_a_version_that_is_not_sure(service: ServiceProcess, task: str) -> None:
    report = train(service, task, examples=rows(200, seed=31))["report"]
    always = configure(service, task, 1)["settings"]
    assert always == {
        "min_confidence": None,
        "thresholds": None,
        "coverage": 1.0,
        "accuracy": pytest.approx(report["accuracy"]),
    }
    texts = ["a ripe apricot", "a claw hammer", "a stone", "the weather of last June"]
    known = [r["predictions"][task] for r in service.predict(texts, tasks=[task])["data"]]
    cut = sorted(answer["score"] for answer in known)[2]
    settings = configure(service, task, 1, min_confidence=cut)["settings"]
    assert settings["min_confidence"] == cut
    assert 0 < settings["coverage"] <= 1
    shown = service.http.get(f"/v1/tasks/{task}/versions/1").json()
    assert shown["settings"] == settings
    for scores in (False, True):
        answers = service.predict(texts, tasks=[task, "sentiment"], scores=scores)["data"]
        for before, row in zip(known, answers, strict=True):
            answer = row["predictions"][task]
            assert answer["score"] == before["score"]
            if before["score"] < cut:
                assert (answer["label"], answer["abstained"]) == (None, True)
            else:
                assert answer["label"] == before["label"]
                assert "abstained" not in answer
            assert row["predictions"]["sentiment"]["label"] is not None
    # Of a second version, settings are its own.
    train(service, task, examples=rows(120, seed=32), activate=True)
    assert service.predict(texts[2], tasks=[task])["data"][0]["predictions"][task]["label"]
    service.http.post(f"/v1/tasks/{task}/versions/1/activate")
    configure(service, task, 1, min_confidence=None)
    asked = service.predict(texts, tasks=[task])["data"]
    assert [row["predictions"][task] for row in asked] == known


def test_settings_that_are_refused(service: ServiceProcess, task: str) -> None:
    configure(service, task, 1, 404, min_confidence=0.5)
    train(service, task, examples=rows(20))
    for body in (
        {"min_confidence": 1.5},
        {"min_confidence": "high"},
        {"min_confidence": 1e999},
        {"thresholds": {"fruit": 0.5}},
        {"confidence": 0.5},
    ):
        response = service.http.patch(
            f"/v1/tasks/{task}/versions/1",
            content=str(body).replace("'", '"').replace("inf", "1e999"),
        )
        assert response.status_code in (400, 422), response.text
        assert response.json()["error"]["message"]
    ready = configure(service, "sentiment", 1, min_confidence=0.0)
    assert ready["settings"]["coverage"] is None  # shipped heads come without rows
    configure(service, "sentiment", 1, min_confidence=None)


def test_several_labels_have_their_own_thresholds(service: ServiceProcess) -> None:
    multi = name()
    service.http.put(f"/v1/tasks/{multi}", json={"kind": "multi_label"})
    examples = [{"text": row["text"], "labels": [row["label"]]} for row in rows(150, seed=41)]
    examples += [{"text": f"nothing much, take {n}", "labels": []} for n in range(50)]
    report = train(service, multi, examples=examples)["report"]
    assert set(report["thresholds"]) == {"fruit", "tool"}

    def labels() -> list[str]:
        data = service.predict("a ripe apricot", tasks=[multi])["data"]
        found: list[str] = data[0]["predictions"][multi]["labels"]
        return found

    assert labels() == ["fruit"]
    settings = configure(service, multi, 1, thresholds={"fruit": 1.0, "tool": 0.0})["settings"]
    assert settings["thresholds"] == {"fruit": 1.0, "tool": 0.0}
    assert settings["accuracy"] < report["accuracy"]
    assert labels() == ["tool"]
    configure(service, multi, 1, thresholds=None)
    assert labels() == ["fruit"]
    assert configure(service, multi, 1, 422, thresholds={"stone": 0.5})["error"]["param"]
    assert configure(service, multi, 1, 422, min_confidence=0.5)["error"]["param"]
    service.http.delete(f"/v1/tasks/{multi}")


def test_versions_are_compared_on_what_neither_was_trained_on(
    service: ServiceProcess, task: str
) -> None:
    examples = rows(200, seed=51)
    flipped = [row | {"label": "tool" if row["label"] == "fruit" else "fruit"} for row in examples]
    first = train(service, task, examples=examples)["report"]
    train(service, task, examples=flipped)
    found = compare(service, task, 2, 1)
    # The same texts and seed hold out the same rows: all of them count.
    assert (found["rows"], found["excluded"]) == (first["n_test"], 0)
    assert found["b"]["accuracy"] == pytest.approx(first["accuracy"])
    assert found["b"]["accuracy"] > 0.8
    assert found["a"]["accuracy"] < 0.2
    assert found["difference"]["low"] > 0.5
    assert found["mcnemar"]["p_value"] < 0.001
    assert found["changed_count"] == len(found["changed"]) > 30
    changed = found["changed"][0]
    assert (changed["version"], changed["part"]) == (1, "examples")
    assert changed["truth"] == examples[changed["row"]]["label"]

    # Another seed holds out other rows: those that version 1 was trained on fall out.
    train(service, task, examples=examples, seed=1)
    other = compare(service, task, 1, 3)
    assert 0 < other["rows"] < first["n_test"]
    assert other["excluded"] > 0

    train(service, task, examples=rows(10, seed=52))  # all trained on, none held out
    train(service, task, examples=rows(10, seed=52))
    assert compare(service, task, 4, 5, 409)["error"]["code"] == "no_common_rows"
    assert compare(service, task, 1, 99, 404)["error"]["code"] == "version_not_found"
    assert compare(service, "sentiment", 1, 1, 409)["error"]["code"] == "no_common_rows"
    response = service.http.post(f"/v1/tasks/{task}/versions/compare", json={"a": "x"})
    assert response.status_code == 422


def test_warnings_name_rows_and_never_texts(service: ServiceProcess, task: str) -> None:
    examples = rows(150, seed=61)
    examples[7] = {"text": "a secret passphrase", "label": "fruit"}
    examples[9] = {"text": "a secret passphrase", "label": "tool"}
    test = [*rows(30, seed=62), {"text": "a secret passphrase", "label": "fruit"}]
    job = train(service, task, examples=examples, test_examples=test)
    warnings = job["report"]["warnings"]
    conflict = next(note for note in warnings if "conflicting labels" in note)
    assert "7" in conflict
    assert "9" in conflict
    leak = next(note for note in warnings if "also trained on" in note)
    assert leak.startswith("1 of 31 test rows")
    assert leak.endswith("test 30")
    assert not any("passphrase" in note for note in warnings)
