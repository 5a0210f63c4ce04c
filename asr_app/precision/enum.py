"""The precisions a user can ask for."""

from __future__ import annotations

import enum

from asr_app.errors import UserError


class Precision(enum.Enum):
    """A requested precision. The effective one, tensor by tensor, is in PrecisionReport."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"

    @property
    def label(self) -> str:
        return self.value.upper()

    @classmethod
    def parse(cls, text: str) -> Precision:
        """The precision of that name, in any case. Raises UserError with the choices."""
        try:
            return cls(text.strip().lower())
        except ValueError:
            choices = ", ".join(p.value for p in cls)
            raise UserError(
                f"Unknown precision {text!r}. Choose one of: {choices}.", f"未知精度 {text!r}。可选：{choices}。"
            ) from None
