"""Storage and arithmetic of a model's weights. Nothing outside this folder branches on a precision.

enum.py names the precisions. recipes.py holds the recipe of each precision by device, and tuned.py the recipes that a
search improved for certain weights. linears.py and tables.py have the quantised torch layers, layers.py chooses among
them, and graph.py has those that ONNX Runtime computes. On a GPU, half.py puts whole runs of layers into half precision,
and captured.py repeats them as CUDA graphs. apply.py swaps layers in, counting.py counts the tensors of the result, and
variants.py caches it on disk. evidence.py keeps measurements made on this machine, and choice.py chooses by them.

This module imports no torch, so that the catalog and the command line start at once.
"""

from asr_app.precision.choice import choose, refusal
from asr_app.precision.enum import Precision
from asr_app.precision.evidence import Evidence, Speed
from asr_app.precision.recipes import Recipe
from asr_app.precision.report import PrecisionReport

__all__ = [
    "Evidence",
    "Precision",
    "PrecisionReport",
    "Recipe",
    "Speed",
    "choose",
    "refusal",
]
