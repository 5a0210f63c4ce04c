"""`python -m benchmarks.funasr_onnx_export MODEL TARGET`: a FunASR folder in the peers' formats, from the same weights.

funasr-onnx reads FunASR's own export with its own INT8. sherpa-onnx reads the same graph with metadata added
(https://github.com/k2-fsa/sherpa-onnx/tree/master/scripts/paraformer). It runs in a process of its own, since it takes
several times the model's memory.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

QUANTISED, SHERPA_MODEL, SHERPA_TOKENS = "model_quant.onnx", "sherpa.int8.onnx", "tokens.txt"


def main(model: Path, target: Path) -> None:
    """Writes the folder `target`, whole or not at all."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(model, part, ignore=shutil.ignore_patterns("*.onnx", "model.pt"))
    (part / "model.pt").symlink_to((model / "model.pt").resolve())
    tokens = _export(part)
    _for_sherpa(part, tokens)
    (part / "model.pt").unlink()
    (part / "model.onnx").unlink(missing_ok=True)
    part.replace(target)


def _export(folder: Path) -> list[str]:
    """Runs FunASR's export, in place. Returns the tokens by number."""
    import torch
    from funasr import AutoModel

    new = torch.onnx.export

    def traced(*arguments: Any, **options: Any) -> Any:
        return new(*arguments, **{"dynamo": False, **options})  # torch's new exporter cannot export these modules

    torch.onnx.export = traced
    auto = AutoModel(model=str(folder), device="cpu", disable_update=True, disable_pbar=True, disable_log=True)
    auto.export(type="onnx", quantize=True, disable_update=True)
    tokenizer = auto.kwargs["tokenizer"]
    if hasattr(tokenizer, "token_list"):
        return list(tokenizer.token_list)
    return [tokenizer.sp.id_to_piece(i) for i in range(tokenizer.sp.get_piece_size())]


def _for_sherpa(folder: Path, tokens: list[str]) -> None:
    import onnx
    import yaml
    from funasr.frontends.wav_frontend import load_cmvn

    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    negative_mean, inverse_deviation = load_cmvn(str(folder / "am.mvn")).tolist()
    metadata: dict[str, Any] = {
        "vocab_size": len(tokens), "lfr_window_size": config["frontend_conf"]["lfr_m"],
        "lfr_window_shift": config["frontend_conf"]["lfr_n"], "neg_mean": ",".join(map(str, negative_mean)),
        "inv_stddev": ",".join(map(str, inverse_deviation)),
    }  # fmt: skip
    if config["model"] == "SenseVoiceSmall":
        metadata |= {"model_type": "sense_voice_ctc", "normalize_samples": 0, "with_itn": 14, "without_itn": 15}
        metadata |= {"lang_auto": 0, "lang_zh": 3, "lang_en": 4, "lang_yue": 7, "lang_ja": 11, "lang_ko": 12}
    else:
        metadata |= {"model_type": "paraformer"}
    graph = onnx.load(folder / QUANTISED)
    for name, value in metadata.items():
        graph.metadata_props.add(key=name, value=str(value))
    onnx.save(graph, folder / SHERPA_MODEL)
    lines = (f"{token} {i}\n" for i, token in enumerate(tokens))
    (folder / SHERPA_TOKENS).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
