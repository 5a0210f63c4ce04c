"""Any file or microphone buffer -> Audio (16 kHz mono float32), once, with limits. Knows nothing of speech.

files.py chooses the decoder, ffmpeg.py runs the one that reads nearly everything, child.py bounds it, mix.py turns
channels into one, samples.py resamples and stores, meter.py judges the recording.
"""

from asr_app.audio.files import Limits, decode, from_buffer, stated_seconds

__all__ = ["Limits", "decode", "from_buffer", "stated_seconds"]
