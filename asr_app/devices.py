"""The device that models run on: which one, with how many cores, and how much of its memory is for weights."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from asr_app.errors import UserError
from asr_app.memory import free_bytes
from asr_app.precision import Precision


def pick_device(wanted: str) -> str:
    """ "auto" -> the first CUDA device or the CPU. Raises UserError for a device that is not there."""
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        kind = ""
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "No CUDA device is usable here. Check the driver (torch 2.13 from PyPI needs CUDA 13), or use --device cpu.",
            "此处没有可用的 CUDA 设备。请检查驱动（PyPI 的 torch 2.13 需要 CUDA 13），或使用 --device cpu。",
        )
    if kind == "cuda" and (torch.device(wanted).index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"There is no {wanted}: {torch.cuda.device_count()} CUDA devices are here, counted from cuda:0.",
            f"没有 {wanted}：此处有 {torch.cuda.device_count()} 个 CUDA 设备，从 cuda:0 开始编号。",
        )
    if kind not in ("cpu", "cuda"):
        raise UserError(
            f"Unknown device {wanted!r}. Use auto, cpu or cuda:0.", f"未知设备 {wanted!r}。可用：auto、cpu、cuda:0。"
        )
    return wanted


def emulated(device: str) -> tuple[Precision, ...]:
    """Precisions that the device computes without instructions for them, slowly. GPUs before Ampere have none for BF16.

    Empty where the device is not here, as on the head of a cluster.
    """
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return ()
    return (Precision.BF16,) if torch.cuda.get_device_capability(device) < (8, 0) else ()


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the limit of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(int(quota) / int(period))))
    return cores


def default_budget(device: str) -> int:
    """Bytes of weights that may be resident: 70 % of a CUDA device, half of the free memory elsewhere."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * 0.7)
    return int(free_bytes() * 0.5)
