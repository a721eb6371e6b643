"""`python -m app.codes`: what is done to stored codes beside serving them.

It works on the server that `REDIS_URL` names, or on the embedded Valkey of a service that is
running here, with the settings of that service (`POLYHEAD_DATA_DIR`, `POLYHEAD_CACHE_LAYOUT`,
`POLYHEAD_CACHE_TTL_S`).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from app.cache import archive, invalidation
from app.cache.address import connect
from app.cache.keys import DIGEST_BYTES
from app.cache.layouts import Layout, open_store
from app.cache.migration import migrate
from app.cache.server import Server, ServerError
from app.cache.store import CodeStore
from app.settings import Settings

TIMEOUT_S = 10.0  # nobody waits for an answer here
FINGERPRINT = re.compile(r"(?:[0-9a-f]{2}){4,}")
KEY = re.compile(rf"[0-9a-f]{{{2 * DIGEST_BYTES}}}")


class Failure(Exception):
    """What goes wrong that the caller can do something about."""


class Codes:
    """The server, and stores of both layouts on it."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url.get_secret_value() if settings.redis_url else None
        if url is None:
            socket = (settings.data_dir / "valkey" / "valkey.sock").resolve()
            if not socket.exists():
                raise Failure(
                    f"no REDIS_URL, and no service is running in {settings.data_dir}: its "
                    "embedded Valkey would be at valkey/valkey.sock there"
                )
            url = f"unix://{socket}"
        self.server: Server = connect(url, TIMEOUT_S)
        self.layout: Layout = settings.cache_layout
        self.stores: dict[Layout, CodeStore] = {
            layout: open_store(self.server, layout, ttl_s=settings.cache_ttl_s, timeout_s=TIMEOUT_S)
            for layout in get_args(Layout)
        }

    @property
    def store(self) -> CodeStore:
        return self.stores[self.layout]

    async def close(self) -> None:
        for store in self.stores.values():
            await store.settled()
            await store.close()


async def list_codes(codes: Codes, _: argparse.Namespace) -> None:
    """Say of which encoders there are codes."""
    strings, packed = await invalidation.tags_of(codes.server)
    for tag in sorted(strings | packed):
        layouts = [name for name, tags in (("string", strings), ("packed", packed)) if tag in tags]
        print(f"{tag.hex()}...  {', '.join(layouts)}")


async def export_codes(codes: Codes, arguments: argparse.Namespace) -> None:
    """Write the codes of an encoder to a folder of Parquet files."""
    if len(arguments.fingerprint) < 32:
        raise Failure("export needs the whole fingerprint: /info has it")
    async for manifest in archive.export_codes(
        codes.store, codes.layout, arguments.fingerprint, arguments.folder
    ):
        print(f"{manifest.codes} codes in {len(manifest.parts)} files", flush=True)


async def import_codes(codes: Codes, arguments: argparse.Namespace) -> None:
    """Store the codes of such a folder."""
    done = arguments.first_part
    try:
        async for done, manifest in archive.import_codes(
            codes.store, arguments.folder, arguments.first_part
        ):
            print(f"{done} of {len(manifest.parts)} files", flush=True)
    except ServerError as error:
        raise Failure(f"{type(error).__name__}; go on with --first-part {done}") from error


async def migrate_codes(codes: Codes, arguments: argparse.Namespace) -> None:
    """Move codes to the other layout."""
    target: Layout = arguments.to
    source: Layout = "packed" if target == "string" else "string"
    strings, packed = await invalidation.tags_of(codes.server)
    for tag in sorted(strings if source == "string" else packed):
        moved = 0
        async for moved in migrate(codes.stores[source], codes.stores[target], tag.hex()):  # noqa: B007
            pass
        print(f"{tag.hex()}...: {moved} codes moved to {target}", flush=True)


async def invalidate_codes(codes: Codes, arguments: argparse.Namespace) -> None:
    """Forget codes."""
    stores = list(codes.stores.values())
    if arguments.all:
        print(f"{await invalidation.forget_all(codes.server)} keys deleted")
    elif not arguments.key:
        count = await invalidation.forget_encoder(codes.server, stores, arguments.fingerprint)
        print(f"{count} keys deleted")
    else:
        digests = [bytes.fromhex(key) for key in arguments.key]
        count = await invalidation.forget(codes.server, stores, arguments.fingerprint, digests)
        print(f"{count} codes forgotten")


Action = Callable[[Codes, argparse.Namespace], Awaitable[None]]


def parse(arguments: Sequence[str] | None) -> tuple[Action, argparse.Namespace]:
    """The action that the command line names, and its arguments."""
    parser = argparse.ArgumentParser(prog="python -m app.codes", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, action: Action) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=action.__doc__, description=action.__doc__)
        added.set_defaults(action=action)
        return added

    add("list", list_codes)
    export = add("export", export_codes)
    export.add_argument("folder", type=Path)
    export.add_argument("--fingerprint", type=_fingerprint, required=True)
    importing = add("import", import_codes)
    importing.add_argument("folder", type=Path)
    importing.add_argument("--first-part", type=int, default=0, help="files before it are done")
    migrating = add("migrate", migrate_codes)
    migrating.add_argument("--to", choices=get_args(Layout), required=True)
    invalidate = add("invalidate", invalidate_codes)
    which = invalidate.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="the codes of all encoders")
    which.add_argument("--fingerprint", type=_fingerprint, help="of the encoder")
    invalidate.add_argument(
        "--key", type=_key, action="append", help="one code, as answers name it; may be repeated"
    )
    parsed = parser.parse_args(arguments)
    if getattr(parsed, "all", False) and parsed.key:
        invalidate.error("--key needs --fingerprint")
    action: Action = parsed.action
    return action, parsed


def _fingerprint(text: str) -> str:
    if not FINGERPRINT.fullmatch(text):
        raise argparse.ArgumentTypeError("a fingerprint is hexadecimal, 8 digits at least")
    return text


def _key(text: str) -> str:
    if not KEY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"a key is {2 * DIGEST_BYTES} hexadecimal digits")
    return text


async def run(action: Action, arguments: argparse.Namespace) -> None:
    """Connect, do it, wait for what it left in the background."""
    codes = Codes(Settings())
    try:
        await action(codes, arguments)
    finally:
        await codes.close()


def main(arguments: Sequence[str] | None = None) -> None:
    action, parsed = parse(arguments)
    try:
        asyncio.run(run(action, parsed))
    except ValidationError as error:
        sys.exit(f"settings: {error.errors()[0]['msg']}")
    except ImportError as error:
        sys.exit(f"{error.name} is not installed: pip install '.[archive]'")
    except (Failure, archive.ArchiveError) as error:
        sys.exit(str(error))
    except ServerError as error:
        sys.exit(f"the server does not answer: {type(error).__name__}")


if __name__ == "__main__":
    main()
