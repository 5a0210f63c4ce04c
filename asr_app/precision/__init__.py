"""How a model's weights are stored and multiplied. Nothing outside this folder branches on a precision.

enum.py names the precisions, recipes.py says what each means for a family on a device and tuned.py what a search found
better for certain weights, linears.py holds the layers that do it and graph.py the layers that ONNX Runtime computes,
apply.py swaps them in, report.py counts what is really there, and variants.py keeps the result on disk. evidence.py
keeps what was measured of it on this machine, and choice.py chooses by it.
"""

from asr_app.precision.apply import OnStep, apply
from asr_app.precision.choice import choose, refusal
from asr_app.precision.enum import Precision
from asr_app.precision.evidence import Evidence, Speed
from asr_app.precision.recipes import Recipe
from asr_app.precision.report import PrecisionReport, report

__all__ = [
    "Evidence",
    "OnStep",
    "Precision",
    "PrecisionReport",
    "Recipe",
    "Speed",
    "apply",
    "choose",
    "refusal",
    "report",
]
