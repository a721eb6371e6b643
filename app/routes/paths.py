"""What the routes of tasks share: parts of their paths, and scopes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from app.deps import requires
from app.schemas import TASK_NAME

PREDICT, MANAGE = requires("predict"), requires("manage")
TaskName = Annotated[str, Path(pattern=TASK_NAME)]
VersionNumber = Annotated[int, Path(ge=1, le=999_999)]
