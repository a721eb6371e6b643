"""POST /v1/predict against the real service: MiniLM, uvicorn, Valkey."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import ServiceProcess

READY = {
    "abuse",
    "assistant_intent",
    "banking_intent",
    "clickbait",
    "emotion",
    "humour",
    "sentence_role",
    "sentiment",
}


def unseen(text: str = "a text nobody has seen") -> str:
    return f"{text} {uuid.uuid4().hex}"


def test_ready_tasks_answer_sensibly(service: ServiceProcess) -> None:
    inputs = [
        "My card still has not arrived, where is it?",
        "This library is great, it works perfectly, thank you!",
        "17 Things Only People Who Grew Up With Brothers Will Understand",
    ]
    first, second, third = service.predict(inputs)["data"]
    assert set(first["predictions"]) >= READY
    assert first["predictions"]["banking_intent"]["label"] == "card_arrival"
    assert second["predictions"]["sentiment"]["label"] == "positive"
    assert third["predictions"]["clickbait"]["label"] == "clickbait"


def test_one_pass_answers_all_tasks_and_the_second_call_none(service: ServiceProcess) -> None:
    text = unseen()
    before = service.metric("polyhead_encoder_passes_total")
    first = service.predict(text)
    assert service.metric("polyhead_encoder_passes_total") == before + 1
    assert first["usage"]["encoded"] == 1
    assert first["data"][0]["cached"] is False
    second = service.predict(text)
    assert service.metric("polyhead_encoder_passes_total") == before + 1
    assert second["usage"] == first["usage"] | {"cached": 1, "encoded": 0}
    assert second["data"][0]["predictions"] == first["data"][0]["predictions"]


def test_hits_and_misses_are_per_text(service: ServiceProcess) -> None:
    known, new = unseen(), unseen()
    service.predict(known)
    answer = service.predict([known, new, new])
    assert [row["cached"] for row in answer["data"]] == [True, False, False]
    assert answer["usage"]["encoded"] == 1
    assert answer["usage"]["cached"] == 1


def test_keys_answer_like_their_texts_without_the_encoder(service: ServiceProcess) -> None:
    by_text = service.predict([unseen(), unseen()], tasks=["emotion"], scores=True)
    keys = [row["key"] for row in by_text["data"]]
    response = service.http.post(
        "/v1/predict", json={"keys": keys, "tasks": ["emotion"], "scores": True}
    )
    by_key = response.json()
    assert by_key["usage"]["encoded"] == 0
    for one, other in zip(by_key["data"], by_text["data"], strict=True):
        assert one["predictions"] == other["predictions"]


def test_scores_are_probabilities_and_the_label_is_their_highest(service: ServiceProcess) -> None:
    (row,) = service.predict(unseen(), scores=True)["data"]
    for prediction in row["predictions"].values():
        scores = prediction["scores"]
        assert sum(scores.values()) == pytest.approx(1.0, abs=1e-4)
        assert max(scores, key=scores.get) == prediction["label"]
        assert scores[prediction["label"]] == prediction["score"]


def test_a_text_alone_and_in_a_batch_gets_the_same_answer(service: ServiceProcess) -> None:
    # Spaces differ, so the keys do; the tokens and therefore the codes are the same.
    text = unseen("an ordinary sentence about the weather in spring")
    alone = service.http.post("/v1/encode", json={"inputs": text}).json()
    others = [unseen("word " * n) for n in range(1, 30)]
    batch = service.http.post("/v1/encode", json={"inputs": [*others, f"  {text} "]}).json()
    assert batch["data"][-1]["cached"] is False
    assert batch["data"][-1]["key"] != alone["data"][0]["key"]
    assert batch["data"][-1]["code"] == alone["data"][0]["code"]


def test_concurrent_requests_for_one_text_encode_it_once(service: ServiceProcess) -> None:
    text = unseen()
    before = service.metric("polyhead_encoder_passes_total")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: service.predict(text), range(16)))
    assert service.metric("polyhead_encoder_passes_total") == before + 1
    assert sum(answer["usage"]["encoded"] for answer in answers) == 1
    assert len({str(answer["data"][0]["predictions"]) for answer in answers}) == 1


def test_long_texts_are_cut_or_refused(service: ServiceProcess) -> None:
    long = unseen("word " * 600)
    (row,) = service.predict(long)["data"]
    assert row["truncated"] is True
    response = service.http.post("/v1/predict", json={"inputs": ["ok", long], "truncate": False})
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "inputs[1]"


def test_time_headers(service: ServiceProcess) -> None:
    response = service.http.post("/v1/predict", json={"inputs": unseen()})
    for stage in ("total", "queue", "tokenization", "inference", "cache"):
        assert float(response.headers[f"x-{stage}-time"]) >= 0
    assert float(response.headers["x-inference-time"]) > 0
    assert len(response.headers["x-request-id"]) >= 16


def test_request_id_is_kept(service: ServiceProcess) -> None:
    response = service.http.post(
        "/v1/predict", json={"inputs": "x"}, headers={"x-request-id": "abc-123"}
    )
    assert response.headers["x-request-id"] == "abc-123"


@pytest.mark.parametrize(
    "text", ["\x00", "🙂" * 50, "‮gnirts", "é" * 1000, "<script>alert(1)</script>", "a" * 5000]
)
def test_unusual_texts_are_texts(service: ServiceProcess, text: str) -> None:
    assert set(service.predict(text)["data"][0]["predictions"]) >= READY
