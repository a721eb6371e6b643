"""schemathesis over the OpenAPI document of a service of its own; what it found, as JSON.

    python -m benchmarks.hostile --st /path/to/st [--examples 1200] [--seed 1]

No answer may be a fault of ours, or of a status, a content type or a shape that the document lacks.
schemathesis lives in an environment of its own: it is no dependency.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import print_result
from benchmarks.service import free_port, start_service, wait_until_ready

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--st", default="st", help="schemathesis' command")
    parser.add_argument("--examples", type=int, default=1200, help="an operation, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after; 0: at the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = start_service(port, Path(folder) / "data", POLYHEAD_LOG_LEVEL="error")
        try:
            wait_until_ready(port)
            status, output = run(arguments, port, Path(folder))
            still_up = process.poll() is None
        finally:
            process.terminate()
            process.wait()
    print_result("hostile", {"exit_status": status, "service_up": still_up, **summary(output)})
    sys.exit(status)


def run(arguments: argparse.Namespace, port: int, folder: Path) -> tuple[int, str]:
    """The exit status of schemathesis and what it printed."""
    # A deadline of a millisecond, which the document allows, is not kept: 504 is the right answer.
    config = folder / "schemathesis.toml"
    config.write_text(
        '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]\n'
    )
    command = [arguments.st, "--config-file", str(config)]
    command += ["run", f"http://127.0.0.1:{port}/openapi.json"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(arguments.examples)]
    command += ["--checks", ",".join(CHECKS), "--seed", str(arguments.seed), "--no-color"]
    command += ["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"]
    command += ["--request-timeout", "60", "--generation-database", "none"]
    if arguments.minutes:
        command += ["--max-time", str(int(arguments.minutes * 60))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    print(done.stdout[-8000:], done.stderr[-2000:], flush=True)
    return done.returncode, done.stdout


def summary(output: str) -> dict[str, int]:
    """The counts of schemathesis' last lines."""
    counts = {}
    for name, pattern in {
        "cases": r"(\d[\d,]*) generated",
        "passed": r"(\d[\d,]*) passed",
        "skipped": r"(\d[\d,]*) skipped",
        "failures": r"(\d[\d,]*) (?:unique )?failures?",
    }.items():
        found = re.findall(pattern, output)
        counts[name] = int(found[-1].replace(",", "")) if found else 0
    return counts


if __name__ == "__main__":
    main()
