"""Layers that store a weight in fewer bits, and multiply it as the device does best. They know no model.

Activations stay FP32 between layers: each layer narrows its own input and widens its own output, so norms, softmax,
residual sums and the integrate-and-fire see what they see at FP32.

Per-channel weights and per-token activations follow Dettmers et al., "LLM.int8()", 2022, without the outlier path.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# They are deprecated, but still the only door to fbgemm's packed format in the pinned torch.
warnings.filterwarnings("ignore", ".*quantized tensor creation functions", UserWarning)

_FEW = 8  # tokens: up to so many, sixteen bits of each cost less than reading the weight does


def cpu_has_vnni() -> bool:
    """Whether this CPU sums products of 8-bit numbers in 32 bits. Without it, pairs overflow 16 bits."""
    return bool(torch.cpu.get_capabilities().get("avx512_vnni", False))


def cpu_multiplies(dtype: torch.dtype) -> bool:
    """Whether this CPU has instructions for matrices of `dtype`, so that narrowing the activations pays."""
    found = torch.cpu.get_capabilities()
    if dtype is torch.bfloat16:
        return bool(found.get("avx512_bf16", False) or found.get("amx_bf16", False))
    return bool(found.get("amx_fp16", False)) if dtype is torch.float16 else dtype is torch.float32


def gpu_multiplies_fp8(device: str) -> bool:
    """Whether `device` is a GPU that multiplies numbers of 8 bits with a point: Ada, Hopper and later."""
    return torch.device(device).type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers of the module itself, by their names."""
    return dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))


def give(module: nn.Module, stored: Mapping[str, nn.Parameter]) -> None:
    """Puts `stored` in the place of the module's own tensors, which are on the meta device."""
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


def coarse_and_fine(rows: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`rows` `(n, d)` as a sum of two: the coarse ones, then the fine ones `(2n, d)`, whole numbers up to `steps`.

    A fine number is worth `0.5 / steps` of a coarse one; with it comes what a coarse one is worth, `(n, 1)`.
    """
    step = rows.abs().amax(-1, keepdim=True).clamp_(min=1e-12).div_(steps)
    exact = rows / step
    coarse = exact.round()
    fine = exact.sub_(coarse).mul_(2 * steps).round_()
    return torch.cat([coarse, fine]), step


def wide_bias(linear: nn.Linear) -> nn.Parameter | None:
    """The bias of `linear` in FP32, whatever its weight becomes."""
    return None if linear.bias is None else nn.Parameter(linear.bias.detach().float(), requires_grad=False)


class Restored(nn.Module):
    """A layer that took the place of another: the dtype its weight is kept in, and the one its products are made in."""

    storage: torch.dtype
    arithmetic: torch.dtype
    weight_count: int

    def stored(self) -> dict[str, torch.Tensor]:
        """Every tensor kept in memory, as it is kept, by its name."""
        return own_tensors(self)

    def kept(self) -> Mapping[str, torch.Tensor]:
        """As `stored`, for counting: a tensor that it would have to copy is told of by one like it, without values."""
        return self.stored()

    def fill(self, stored: Mapping[str, nn.Parameter]) -> None:
        """Takes what `stored` of a layer alike gave; this one was made of a layer on the meta device."""
        give(self, stored)


class HalfLinear(Restored):
    """Weight `(out, in)` in FP16 or BF16; products in it where the device can, else the weight is widened each call."""

    def __init__(self, linear: nn.Linear, storage: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().to(storage), requires_grad=False)
        self.bias = wide_bias(linear)
        self.storage = storage
        self.weight_count = self.weight.numel()

    @property
    def arithmetic(self) -> torch.dtype:  # type: ignore[override]
        """Asked of the weight where it is: it may have been made before it had a place."""
        native = self.weight.device.type == "cuda" or cpu_multiplies(self.storage)
        return self.storage if native else torch.float32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.linear(x.to(self.arithmetic), self.weight.to(self.arithmetic)).to(x.dtype)
        return y if self.bias is None else y + self.bias


class HalfEmbedding(Restored):
    """A table `(rows, dim)` in FP16 or BF16 whose rows come out in FP32: a look-up loses only the rounding."""

    arithmetic = torch.float32

    def __init__(self, embedding: nn.Embedding, storage: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(embedding.weight.detach().to(storage), requires_grad=False)
        self.storage = storage
        self.padding_idx = embedding.padding_idx
        self.weight_count = 0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(ids, self.weight, self.padding_idx).float()


class Int8Linear(Restored):
    """Weight in INT8 by output channel, activations in 8 bits by token, products and sums in integers. CPU only.

    The library kernel scales a whole tensor of activations at once; dividing every token by its own maximum first,
    and multiplying the result back, turns that into a scale a token and halves the error. A few tokens, as a decoder
    has in a step, get sixteen bits, as a coarse and a fine number: twice the rows for a product whose time goes into
    reading the weight, and half of the error again.
    """

    storage = torch.int8
    arithmetic = torch.int8

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight
        self.bias = wide_bias(linear)
        self.out_features, self.in_features = weight.shape
        self.weight_count = weight.numel()
        # Its alternative, onednn, keeps every weight twice, and takes twice as long for the few tokens of a decoder.
        if "fbgemm" in torch.backends.quantized.supported_engines:
            torch.backends.quantized.engine = "fbgemm"
        self._reduce_range = not cpu_has_vnni()
        self._packed: Any = None
        if not weight.is_meta:
            self._pack(*int8_rows(weight))

    def _pack(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        zeros = torch.zeros(len(scale), dtype=torch.long)
        quantised = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        self._packed = torch.ops.quantized.linear_prepack(quantised, None)
        self._like = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
            for name, tensor in (("weight", weight), ("scale", scale.float()))
        }

    def kept(self) -> Mapping[str, torch.Tensor]:
        return self._like | own_tensors(self)

    def stored(self) -> dict[str, torch.Tensor]:
        weight, _ = torch.ops.quantized.linear_unpack(self._packed)
        return {"weight": weight.int_repr(), "scale": weight.q_per_channel_scales().float(), **super().stored()}

    def fill(self, stored: Mapping[str, nn.Parameter]) -> None:
        self._pack(stored["weight"].data, stored["scale"].data)
        super().fill({name: tensor for name, tensor in stored.items() if name not in ("weight", "scale")})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() <= _FEW * self.in_features:
            y = self._finely(x)
            return y if self.bias is None else y.add_(self.bias)
        # The kernel takes no scale below 6e-5, and loses what is smaller.
        largest = x.abs().amax(-1, keepdim=True).clamp_(min=1e-12)
        try:
            y = torch.ops.quantized.linear_dynamic((x / largest).contiguous(), self._packed, self._reduce_range)
        except RuntimeError:
            if bool(x.isfinite().all()):
                raise
            # The kernel raises where a product of floats would go on with NaN, which is looked for further out.
            return x.new_full((*x.shape[:-1], self.out_features), torch.nan)
        y.mul_(largest)
        return y if self.bias is None else y.add_(self.bias)

    def _finely(self, x: torch.Tensor) -> torch.Tensor:
        steps = 63 if self._reduce_range else 127
        rows = x.reshape(-1, self.in_features)
        both, step = coarse_and_fine(rows, steps)
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(both, 1.0, steps + 1, self._packed)
        y = torch.add(y[: len(rows)], y[len(rows) :], alpha=0.5 / steps).mul_(step)
        return y.reshape(*x.shape[:-1], self.out_features)


class CudaLinear(Restored):
    """What the layers for CUDA's kernels share: weight `(out, in)` and activations narrowed row by row.

    Raises ValueError where a side of the weight is no multiple of `multiple`, which the kernel needs.
    """

    multiple: int

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        if not self.takes(linear):
            raise ValueError(f"sides must be multiples of {self.multiple}: {tuple(linear.weight.shape)}")
        weight, scale = self.narrow(linear.weight.detach().float())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = wide_bias(linear)
        self.weight_count = weight.numel()

    @classmethod
    def takes(cls, linear: nn.Linear) -> bool:
        """Whether the kernel can multiply with the weight of `linear`."""
        return linear.in_features % cls.multiple == 0 and linear.out_features % cls.multiple == 0

    @staticmethod
    def narrow(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`rows` `(n, d)` as they are stored, and what to multiply each with to have it back, `(n,)`."""
        raise NotImplementedError

    def products(self, narrow: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """What `narrow` gave of the activations, with the weight: `(n, out)`."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.products(*self.narrow(x.reshape(-1, x.shape[-1]).float())).to(x.dtype).reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias


class Int8CudaLinear(CudaLinear):
    """INT8 by `torch._int_mm`, which multiplies 8-bit matrices as they lie.

    As torchao's `int8_dynamic_activation_int8_weight` does it (https://github.com/pytorch/ao), without its tensor class,
    of which neither what is stored nor what is multiplied could be counted here.
    """

    storage = torch.int8
    arithmetic = torch.int8
    multiple = 8
    _fewest = 17  # rows that the kernel takes; fewer are filled up

    @staticmethod
    def narrow(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return int8_rows(rows)

    def products(self, narrow: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        filled = nn.functional.pad(narrow, (0, 0, 0, max(0, self._fewest - len(narrow))))
        summed = torch._int_mm(filled, self.get_buffer("weight").t())[: len(narrow)]
        return summed * scale[:, None] * self.get_buffer("scale")


class Fp8Linear(CudaLinear):
    """FP8 (e4m3) by `torch._scaled_mm`, which sums in FP32.

    torchao's `float8_dynamic_activation_float8_weight` calls it too (https://github.com/pytorch/ao); Micikevicius et
    al., "FP8 Formats for Deep Learning", 2022.
    """

    storage = torch.float8_e4m3fn
    arithmetic = torch.float8_e4m3fn
    multiple = 16

    @staticmethod
    def narrow(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scale = (rows.abs().amax(1) / torch.finfo(torch.float8_e4m3fn).max).clamp(min=1e-12)
        return (rows / scale[:, None]).to(torch.float8_e4m3fn), scale

    def products(self, narrow: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch._scaled_mm(
            narrow, self.get_buffer("weight").t(), scale_a=scale[:, None], scale_b=self.get_buffer("scale")[None],
            out_dtype=torch.bfloat16,  # the only one that the kernel has for scales of rows
        )  # fmt: skip
