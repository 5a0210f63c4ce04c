"""Training loop of the demo models: rounds of falling learning rates, averaged weights, and resumption after a stop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

WARMUP_STEPS, EMA = 400, 0.999
_SAVE_EVERY = 500


@dataclass(frozen=True)
class Round:
    """A round of `steps` on batches of `frames` of 10 ms. The learning rate rises to `rate` and falls along a cosine.

    The strength of augmentation is drawn between the two of `strength`.
    """

    steps: int
    rate: float
    strength: tuple[float, float]
    frames: int


class Fit:
    """Runs AdamW over `modules` through `rounds`. `average` follows their weights and should be published.

    Every 500 steps the state is written to the file `state`. If the file exists at the start, training resumes from it.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], rounds: Sequence[Round], state: Path, steps: int | None
    ) -> None:
        self._modules, self._rounds, self._state = modules, rounds, state
        self.steps = steps or sum(r.steps for r in rounds)
        self.step = 0
        self._parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(self._parameters, lr=rounds[0].rate, betas=(0.9, 0.98), weight_decay=1e-3)
        self.average = {name: {k: v.clone() for k, v in m.state_dict().items()} for name, m in modules.items()}
        if state.exists():
            saved = torch.load(state)
            for name, module in modules.items():
                module.load_state_dict(saved["modules"][name])
            self._optimiser.load_state_dict(saved["optimiser"])
            self.average, self.step = saved["average"], saved["step"]
        for module in modules.values():
            module.train()
            for layer in module.modules():
                # Drawing dropout masks costs as much as the layers on a CPU, and models this small underfit: the
                # augmentation is regularisation enough.
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.0
        self._began, self._first = time.time(), self.step
        self._loss = self._right = 0.0

    @property
    def done(self) -> bool:
        return self.step >= self.steps

    @property
    def round(self) -> Round:
        """Round of the next step."""
        return self._schedule()[0]

    def descend(self, loss: torch.Tensor, right: float) -> None:
        """Makes one step of gradient descent on `loss`. `right` is a share to print."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule()[1]
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self._optimiser.step()
        self.step += 1
        keep = min(EMA, self.step / (self.step + 10))
        with torch.no_grad():
            for name, module in self._modules.items():
                for k, v in module.state_dict().items():
                    if v.is_floating_point():
                        self.average[name][k].lerp_(v, 1 - keep)
        weight = max(0.02, 1 / (self.step - self._first))
        self._loss += (float(loss.detach()) - self._loss) * weight
        self._right += (right - self._right) * weight
        if self.step % 100 == 0:
            pace = (time.time() - self._began) / (self.step - self._first)
            print(
                f"step {self.step}/{self.steps}  loss {self._loss:.3f}  right {self._right:.3f}  {pace:.2f} s/step  "
                f"{pace * (self.steps - self.step) / 60:.0f} min left", file=sys.stderr, flush=True,
            )  # fmt: skip
        if self.step % _SAVE_EVERY == 0 or self.done:
            self._save()

    def _schedule(self) -> tuple[Round, float]:
        step, at = self.step, 0
        while at < len(self._rounds) - 1 and step >= self._rounds[at].steps:
            step -= self._rounds[at].steps
            at += 1
        now = self._rounds[at]
        fall = 0.5 * (1 + math.cos(math.pi * min(1, step / now.steps)))
        warm = min(1, (step + 1) / min(WARMUP_STEPS, now.steps / 8))
        return now, now.rate * warm * max(0.01, fall)

    def _save(self) -> None:
        saved = dict(
            modules={name: m.state_dict() for name, m in self._modules.items()},
            optimiser=self._optimiser.state_dict(), average=self.average, step=self.step,
        )  # fmt: skip
        part = self._state.with_suffix(".part")
        torch.save(saved, part)
        part.replace(self._state)


def in_half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` with its floating-point weights in FP16, which halves the published size."""
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
