"""Layers that store a weight in fewer bits and multiply it as suits the device. They know no model.

Activations stay FP32 between layers: each layer narrows its own input and widens its own output, so norms, softmax,
residual sums and the integrate-and-fire see what they see at FP32.

Per-channel weights and per-token activations follow Dettmers et al., "LLM.int8()", 2022, without the outlier path.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

_FEW = 8  # tokens up to which the weight-only kernel is the faster one


def cpu_has_vnni() -> bool:
    """Whether this CPU sums products of 8-bit numbers in 32 bits. Without it, pairs overflow 16 bits."""
    return bool(torch.cpu.get_capabilities().get("avx512_vnni", False))


def cpu_multiplies(dtype: torch.dtype) -> bool:
    """Whether this CPU has instructions for matrices of `dtype`, so that narrowing the activations pays."""
    capabilities = torch.cpu.get_capabilities()
    if dtype is torch.bfloat16:
        return bool(capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False))
    return bool(capabilities.get("amx_fp16", False)) if dtype is torch.float16 else dtype is torch.float32


def own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers of the module itself, by their names."""
    return dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))


def give(module: nn.Module, stored: Mapping[str, nn.Parameter]) -> None:
    """Replaces the module's own tensors, which are on the meta device, by `stored`."""
    for name, tensor in stored.items():
        if name in module._buffers:
            module._buffers[name] = tensor.data
        else:
            module._parameters[name] = tensor


def int8_rows(weight: torch.Tensor, largest: int = 127) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight` `(rows, n)` in INT8 up to `largest`, and the scale of each row, `(rows,)`."""
    weight = weight.detach().float()
    scale = (weight.abs().amax(1) / largest).clamp(min=1e-12)
    return torch.round(weight / scale[:, None]).to(torch.int8), scale


def split_16bit(rows: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Splits `rows` `(n, d)` into a coarse and a fine part: `(2n, d)`, coarse rows first, whole numbers up to `steps`.

    Also returns the value of a coarse step, `(n, 1)`. A fine step is worth `0.5 / steps` of it.
    """
    step = rows.abs().amax(-1, keepdim=True).clamp_(min=1e-12).div_(steps)
    exact = rows / step
    coarse = exact.round()
    fine = exact.sub_(coarse).mul_(2 * steps).round_()
    return torch.cat([coarse, fine]), step


def wide_bias(linear: nn.Linear) -> nn.Parameter | None:
    """The bias of `linear` in FP32, whatever its weight becomes."""
    return None if linear.bias is None else nn.Parameter(linear.bias.detach().float(), requires_grad=False)


class QuantizedModule(nn.Module):
    """A replacement for a layer with FP32 weights. `storage` is the dtype of its weight, `arithmetic` the dtype of its
    products, `weight_count` the number of weights that are multiplied."""

    storage: torch.dtype
    arithmetic: torch.dtype
    weight_count: int


class HalfLinear(QuantizedModule):
    """Weight `(out, in)` in FP16 or BF16. Products are in that dtype if the device can, else the weight is widened."""

    def __init__(self, linear: nn.Linear, storage: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().to(storage), requires_grad=False)
        self.bias = wide_bias(linear)
        self.storage = storage
        self.weight_count = self.weight.numel()

    @property
    def arithmetic(self) -> torch.dtype:  # type: ignore[override]
        """Depends on the device of the weight, which may have been moved since the layer was made."""
        native = self.weight.device.type == "cuda" or cpu_multiplies(self.storage)
        return self.storage if native else torch.float32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        arithmetic = self.arithmetic
        # In a run of layers that is in half precision as a whole, nothing is converted.
        if self.bias is not None and x.dtype == self.weight.dtype == self.bias.dtype == arithmetic:
            return nn.functional.linear(x, self.weight, self.bias)
        y = nn.functional.linear(x.to(arithmetic), self.weight.to(arithmetic))
        # The sum with the bias is FP32: on a GPU, one kernel less than widening first.
        return y.to(x.dtype) if self.bias is None else torch.add(y, self.bias).to(x.dtype)


class HalfEmbedding(QuantizedModule):
    """A table `(rows, dim)` in FP16 or BF16 that returns FP32 rows. A look-up loses only the rounding."""

    arithmetic = torch.float32

    def __init__(self, embedding: nn.Embedding, storage: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(embedding.weight.detach().to(storage), requires_grad=False)
        self.storage = storage
        self.padding_idx = embedding.padding_idx
        self.weight_count = 0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(ids, self.weight, self.padding_idx).float()


class Int8Linear(QuantizedModule):
    """Weight `(out, in)` in INT8 by output channel. CPU only.

    Up to `_FEW` tokens, a decoder's step, are multiplied in BF16 by torch's weight-only kernel, which takes as long as
    reading the weight does. More tokens are narrowed to 8 bits each and multiplied in integers. On a CPU without VNNI
    the weight is widened to FP32 for them, since sums of two products would overflow 16 bits.
    """

    storage = torch.int8
    arithmetic = torch.bfloat16  # of a decoder step; longer inputs are multiplied in INT8

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight
        narrow, scale = (
            (torch.empty(weight.shape, dtype=torch.int8, device="meta"), torch.empty(len(weight), device="meta"))
            if weight.is_meta
            else int8_rows(weight)
        )
        self.register_buffer("weight", narrow)
        self.register_buffer("scale", scale)
        self.bias = wide_bias(linear)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight_count = weight.numel()
        self._integers = cpu_has_vnni()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_features)
        y = (self._few(rows) if len(rows) <= _FEW else self._many(rows)).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y.add_(self.bias)

    def _few(self, rows: torch.Tensor) -> torch.Tensor:
        # The scale is applied to FP32: the kernel rounds it, and with it every product of a channel, to 8 bits.
        ones = torch.ones(self.out_features, dtype=torch.bfloat16)
        return (
            torch._weight_int8pack_mm(rows.bfloat16(), self.get_buffer("weight"), ones)
            .float()
            .mul_(self.get_buffer("scale"))
        )

    def _many(self, rows: torch.Tensor) -> torch.Tensor:
        if not self._integers:
            return nn.functional.linear(rows, self.get_buffer("weight").float()).mul_(self.get_buffer("scale"))
        step = rows.abs().amax(-1, keepdim=True).clamp_(min=1e-12).div_(127)
        # A row that is not finite is not finite in FP32 either: its integers are of no use, its step keeps the fact.
        narrow = (rows / step).round_().to(torch.int8)
        return torch._int_mm(narrow, self.get_buffer("weight").t()).float().mul_(step).mul_(self.get_buffer("scale"))


class Int8CudaLinear(QuantizedModule):
    """INT8 by `torch._int_mm`, which multiplies 8-bit matrices directly: weight `(out, in)`, activations by row.

    The arithmetic is that of torchao's `int8_dynamic_activation_int8_weight` (https://github.com/pytorch/ao). Its
    tensor class is not used, since neither its storage nor its products could be counted here. Raises ValueError if a
    side of the weight is no multiple of 8, which the kernel needs.
    """

    storage = torch.int8
    arithmetic = torch.int8
    _multiple = 8
    _fewest = 17  # rows that the kernel takes; fewer are filled up

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        if not self.takes(linear):
            raise ValueError(f"sides must be multiples of {self._multiple}: {tuple(linear.weight.shape)}")
        weight, scale = int8_rows(linear.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = wide_bias(linear)
        self.weight_count = weight.numel()

    @classmethod
    def takes(cls, linear: nn.Linear) -> bool:
        """Whether the kernel can multiply with the weight of `linear`."""
        return linear.in_features % cls._multiple == 0 and linear.out_features % cls._multiple == 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow, scale = int8_rows(x.reshape(-1, x.shape[-1]))
        missing = self._fewest - len(narrow)
        filled = nn.functional.pad(narrow, (0, 0, 0, missing)) if missing > 0 else narrow
        summed = torch._int_mm(filled, self.get_buffer("weight").t())[: len(narrow)] * scale[:, None]
        by_channel = self.get_buffer("scale")
        y = summed * by_channel if self.bias is None else torch.addcmul(self.bias, summed, by_channel)
        return y.to(x.dtype).reshape(*x.shape[:-1], -1)
