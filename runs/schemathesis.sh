#!/bin/sh
# Hostile requests made from the OpenAPI document: at least 10,000 cases against a service of its own.
# Takes a while (EXAMPLES cases an operation at most); not part of the tests. ST: schemathesis' command,
# from an environment of its own with `pip install schemathesis==4.32.5`.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
exec .venv/bin/python -m benchmarks.hostile --st "${ST:-st}" --examples "${EXAMPLES:-1200}"
