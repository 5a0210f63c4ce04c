"""Fun-ASR-Nano's module, built without its timing head and from local files only.

Source: https://github.com/modelscope/FunASR (funasr/models/fun_asr_nano/model.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from funasr.models.fun_asr_nano.model import FunASRNano as _FunASRNano
from funasr.models.fun_asr_nano.model import dtype_map
from funasr.models.llm_asr.adaptor import Transformer
from funasr.models.sense_voice.model import SenseVoiceEncoderSmall
from torch import nn


class FunASRNano(_FunASRNano):
    """FunASR's module. Its own constructor builds whatever model the folder's files name, also from a hub."""

    def __init__(
        self,
        *,
        audio_encoder_conf: dict[str, Any],
        audio_adaptor_conf: dict[str, Any],
        llm_conf: dict[str, Any],
        llm_folder: Path,
        input_size: int,
        length_normalized_loss: bool = False,
        **_: Any,
    ) -> None:
        from transformers import AutoModelForCausalLM, Qwen3Config

        nn.Module.__init__(self)
        self.audio_encoder_activation_checkpoint = False
        self.audio_encoder = SenseVoiceEncoderSmall(input_size=input_size, **audio_encoder_conf)
        config = Qwen3Config.from_pretrained(llm_folder, local_files_only=True)
        self.llm_dtype = llm_conf.get("llm_dtype", "fp32")
        llm = AutoModelForCausalLM.from_config(config, trust_remote_code=False, attn_implementation="sdpa")
        self.llm = llm.to(dtype_map[self.llm_dtype])
        if llm_conf.get("use_lora", False):
            self._apply_lora_to_llm(llm_conf)
        sizes = {"encoder_dim": self.audio_encoder.output_size(), "llm_dim": config.hidden_size}
        self.audio_adaptor = Transformer(**audio_adaptor_conf | sizes)
        self.use_low_frame_rate = audio_adaptor_conf.get("use_low_frame_rate", False)
        self.ctc_decoder = None
        self.length_normalized_loss = length_normalized_loss
        for part, conf, default in (
            (self.audio_encoder, audio_encoder_conf, True),
            (self.llm, llm_conf, True),
            (self.audio_adaptor, audio_adaptor_conf, False),
        ):
            if conf.get("freeze", default):
                part.requires_grad_(False)
