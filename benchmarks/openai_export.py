"""`python -m benchmarks.openai_export WEIGHTS TARGET`: Whisper's weights as openai-whisper's own checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import checkpoint


def main(weights: Path, target: Path) -> None:
    """Writes the file `target`, whole or not at all."""
    import torch

    dims, state = checkpoint.read(weights)
    part = target.with_suffix(".part")
    torch.save({"dims": dims, "model_state_dict": state}, part)
    part.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
