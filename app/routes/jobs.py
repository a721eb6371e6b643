"""/v1/jobs: progress of trainings and evaluations and, at the end, their reports."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from app.deps import Services
from app.routes.paths import MANAGE
from app.schemas import Job, JobList

router = APIRouter(prefix="/v1", tags=["tasks"], dependencies=[MANAGE])


@router.get("/jobs")
async def list_jobs(services: Services) -> JobList:
    """All jobs, newest first."""
    return JobList(data=await asyncio.to_thread(services.jobs.list))


@router.get("/jobs/{job_id}")
async def get_job(job_id: str, services: Services) -> Job:
    """One job."""
    return await asyncio.to_thread(services.jobs.get, job_id)
