"""`polyhead predict` and `polyhead encode`."""

from __future__ import annotations

import base64
import os
import pty
import signal
import subprocess
import uuid
from pathlib import Path

import pytest
from polyhead import Client

from tests.cli.conftest import COMMAND, LISTENING, Polyhead, environment
from tests.conftest import ServiceProcess


def test_arguments_are_answered_in_order(polyhead: Polyhead, service: ServiceProcess) -> None:
    texts = ["What a lovely day", "you idiots broke it again", "What a lovely day"]
    ran = polyhead("predict", *texts, "--tasks", "sentiment,abuse")
    assert (ran.status, ran.err) == (0, "")
    with Client(service.url) as client:
        expected = client.predict(texts, ["sentiment", "abuse"])
    assert [line["text"] for line in ran.lines] == texts
    assert [line["index"] for line in ran.lines] == [0, 1, 2]
    for line, result in zip(ran.lines, expected, strict=True):
        assert line["key"] == result.key
        for name, answer in result.predictions.items():
            told = line["predictions"][name]
            assert told == {
                "label": answer.label, "score": answer.score, "version": answer.version
            }  # fmt: skip


def test_all_tasks_and_scores(polyhead: Polyhead) -> None:
    line = polyhead("predict", "hello there", "--scores").one
    assert len(line["predictions"]) >= 8
    sentiment = line["predictions"]["sentiment"]
    assert sentiment["scores"][sentiment["label"]] == sentiment["score"]


def test_stdin_has_one_answer_a_line_and_bad_lines_their_error(polyhead: Polyhead) -> None:
    stdin = b"a good one\r\n\n  \nbr\xffken\nlast, without an end"
    ran = polyhead("predict", "-t", "sentiment", stdin=stdin)
    assert ran.status == 1
    assert [line.get("error") for line in ran.lines] == [
        None,
        "the text is empty",
        "the text is empty",
        "the line is not UTF-8",
        None,
    ]
    assert ran.lines[0]["text"] == "a good one"
    assert ran.lines[4]["text"] == "last, without an end"
    assert ran.err == "polyhead: 3 of 5 inputs had no answer\n"
    assert polyhead("predict", "-", "-t", "sentiment", stdin="a text\n").one["text"] == "a text"
    assert polyhead("predict", "-t", "sentiment").out == ""


def test_more_lines_than_a_request_holds(polyhead: Polyhead) -> None:
    mark = uuid.uuid4().hex
    texts = [f"{mark} {number % 50}" for number in range(700)]
    ran = polyhead("predict", "-t", "sentiment", stdin="\n".join(texts))
    assert ran.status == 0
    assert [line["text"] for line in ran.lines] == texts


def test_stdin_as_json_lines(polyhead: Polyhead) -> None:
    stdin = '{"body": "a text"}\n{"other": 1}\nno json\n{"body": 3}\n{"body": null}\n'
    ran = polyhead("predict", "-t", "sentiment", "--json-field", "body", stdin=stdin)
    assert ran.status == 1
    errors = [line.get("error") for line in ran.lines]
    assert errors[0] is None
    assert all(errors[1:])
    assert ran.lines[0]["text"] == "a text"


def test_a_text_that_is_too_long_costs_only_its_own_answer(polyhead: Polyhead) -> None:
    long = "word " * 2000
    ran = polyhead("predict", "-t", "sentiment", "--no-truncate", stdin=f"short\n{long}\nshort\n")
    assert ran.status == 1
    assert ["error" in line for line in ran.lines] == [False, True, False]
    assert ran.lines[1]["error"].startswith("the text is over the limit of 512 tokens")
    assert polyhead("predict", "-t", "sentiment", stdin=long).one["truncated"] is True


def test_codes(polyhead: Polyhead, service: ServiceProcess) -> None:
    lines = polyhead("encode", "a text", "another").lines
    with Client(service.url) as client:
        codes = client.encode(["a text", "another"])
    assert [base64.b64decode(line["code"]) for line in lines] == [one.code for one in codes]


def test_a_line_is_answered_before_the_next_one_comes(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """As behind `tail -f`: nothing waits for a batch to fill."""
    process = subprocess.Popen(
        [*COMMAND, "predict", "-t", "sentiment"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path, POLYHEAD_URL=service.url),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for text in (b"one", b"two"):
        process.stdin.write(text + b"\n")
        process.stdin.flush()
        assert text in process.stdout.readline()
    process.stdin.close()
    assert process.wait() == 0


def test_a_reader_that_leaves_is_no_traceback(service: ServiceProcess, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "predict", "-t", "sentiment"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path, POLYHEAD_URL=service.url),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write(b"a text\n")
    process.stdin.close()
    assert process.wait() == -signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_ctrl_c_ends_it_as_shells_expect(service: ServiceProcess, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*LISTENING, "predict", "-t", "sentiment"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path, POLYHEAD_URL=service.url),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"a text\n")
    process.stdin.flush()
    process.stdout.readline()  # it is up, and waits for the next line
    process.send_signal(signal.SIGINT)
    assert process.wait() == -signal.SIGINT
    assert process.stderr.read() == b"polyhead: stopped\n"


def on_a_terminal(service: ServiceProcess, home: Path, *arguments: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment(home, POLYHEAD_URL=service.url, TERM="xterm", COLUMNS="100"),
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    assert process.wait() == 0
    os.close(ours)
    return b"".join(parts).decode()


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals")
def test_people_get_tables_and_no_commands_for_their_terminal(
    service: ServiceProcess, tmp_path: Path
) -> None:
    said = on_a_terminal(service, tmp_path, "predict", "fine \x1b]0;owned\x07", "-t", "sentiment")
    assert "sentiment" in said
    assert "owned" in said
    assert "\x1b]" not in said
    assert "\x07" not in said
    assert '{"' not in said
    assert "single label" in on_a_terminal(service, tmp_path, "tasks")
    assert "cache.hit_ratio" in on_a_terminal(service, tmp_path, "stats")
    assert on_a_terminal(service, tmp_path, "tasks", "-f", "json").startswith("{")
