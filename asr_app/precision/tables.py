"""A vocabulary head in 8 bits, which may be the token embedding as well: looked up by rows, multiplied as stored.

A decoder reads its whole head for every token, so fewer bits save most time there. Its logits are compared with each
other, so errors cost most there too. The weights have one scale a row. The activations are a sum of two 8-bit numbers,
a coarse and a fine one. That makes 16 bits, at the price of a second row in a product whose time goes into reading the
table.
"""

from __future__ import annotations

import torch
from torch import nn

from asr_app.precision.linears import QuantizedModule, cpu_has_vnni, int8_rows, split_16bit, wide_bias

_STEPS = 127  # of each of the two numbers


class Int8Rows(QuantizedModule):
    """A table `(rows, dim)` in INT8 with a scale a row."""

    storage = torch.int8
    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        # Not empty_like: for the meta device torch has that in Python only, and imports its compiler for it.
        table, scale = (
            torch.empty(shape, dtype=dtype, device=weight.device)
            for shape, dtype in ((weight.shape, torch.int8), (len(weight), torch.float32))
        )
        if not weight.is_meta:
            # Without VNNI two products of 8 bits overflow the 16 in which they are summed: 7 bits do not.
            table, scale = int8_rows(weight, 127 if cpu_has_vnni() else 63)
        self.register_buffer("weight", table)
        self.register_buffer("scale", scale)

    def tie(self, other: Int8Rows) -> None:
        """Replaces its own tensors by those of `other`, which was made of the same table."""
        self.weight, self.scale = other.weight, other.scale

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows `(..., dim)` of `ids` `(...)` in FP32."""
        return nn.functional.embedding(ids, self.weight).float() * self.scale[ids][..., None]

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """`x` `(..., dim)` with every row of the table: `(..., rows)` in FP32."""
        flat = x.reshape(-1, x.shape[-1])
        both, step = split_16bit(flat, _STEPS)
        summed = torch._int_mm(both.to(torch.int8), self.weight.t()).float()
        y = torch.add(summed[: len(flat)], summed[len(flat) :], alpha=0.5 / _STEPS).mul_(step).mul_(self.scale)
        return y.reshape(*x.shape[:-1], -1)


class Int8Embedding(Int8Rows):
    """Replaces an embedding. A decoder whose head is the same table calls `products`."""

    arithmetic = torch.float32

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__(embedding.weight)
        self.padding_idx = embedding.padding_idx
        self.weight_count = 0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.rows(ids)


class Int8Head(Int8Rows):
    """Replaces a vocabulary head. CPU only."""

    arithmetic = torch.int8

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.weight)
        self.bias = wide_bias(linear)
        self.weight_count = linear.weight.numel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.products(x)
        return y if self.bias is None else y + self.bias
