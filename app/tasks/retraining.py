"""Which heads must be trained anew for the running encoder. Pure.

A code cannot be turned into one of another encoder: their texts are needed, which nobody kept here.
"""

from __future__ import annotations

from app.schemas import OutdatedHead
from app.tasks.plans import obstacle
from app.tasks.state import Snapshot
from models.encoder import EncoderInfo


def outdated_heads(snapshot: Snapshot, info: EncoderInfo) -> list[OutdatedHead]:
    """Active heads that cannot read the codes of this encoder."""
    found = []
    for state in snapshot.tasks.values():
        manifest, version = state.active_manifest, state.active
        if manifest is None or version is None:
            continue
        if obstacle(state, info.fingerprint, info.bits) is None:
            continue
        report = manifest.report or {}
        options = report.get("options")
        found.append(
            OutdatedHead(
                task=state.name,
                version=version,
                kind=state.kind,
                encoder=next(iter(manifest.encoders), ""),
                ready_made=state.ready_made,
                options=options if isinstance(options, dict) else {},
            )
        )
    return found
