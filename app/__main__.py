"""`python -m app`: run the process that POLYHEAD_ROLE names."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import uvicorn
from pydantic import ValidationError

from app.logs import set_up_logs
from app.settings import Settings


def main() -> None:
    try:
        settings = Settings()
    except ValidationError as error:
        # Names and reasons, never values: a value may be a key.
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            print(
                f"settings: {name}: {problem['msg']}".replace(": : ", ": ").replace(
                    "Value error, ", ""
                ),
                file=sys.stderr,
            )
        sys.exit(2)
    # Heads are small products: threads of numpy would cost more than they give, and they would
    # take the encoder's cores. Before numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    set_up_logs(settings.log_level, settings.log_format)

    from app.connection import bounded
    from app.draining import DrainingServer
    from app.main import create_app
    from app.tracing import TracingMissing

    try:
        app = create_app(settings)
    except TracingMissing as error:
        print(f"cannot start: {error}", file=sys.stderr)
        sys.exit(2)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=20,
        timeout_keep_alive=75,
        http=bounded(settings.head_timeout_s, app.gate),
        ws="none",
    )
    server = DrainingServer(config, app, settings.drain_s)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(3)  # as uvicorn's own command does


if __name__ == "__main__":
    main()
