"""The state of a job as JSON: the answer of `/v1/jobs/{id}`, an event of its stream, the data of a webhook."""

from __future__ import annotations

from typing import Any

from asr_app.observer import Status

UNBUFFERED = {"X-Accel-Buffering": "no"}  # of a stream of events: nginx passes each one on at once


def state(status: Status) -> dict[str, Any]:
    """A job without its text. Seconds, except `created_at`, which is in seconds since 1970."""
    return {
        "id": status.id, "object": "transcription.job", "status": status.state, "stage": status.stage or None,
        "created_at": int(status.created), "file": status.name, "model": status.model, "ahead": status.ahead,
        "done": round(status.done, 3), "total": round(status.total, 3), "eta_s": status.eta_s,
        "duration_s": status.seconds, "error": status.error.en if status.error else None,
    }  # fmt: skip
