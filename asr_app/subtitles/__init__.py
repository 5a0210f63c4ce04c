"""Subtitles of a transcript: readable cues with lines and times, and the linter of subtitle files."""

from asr_app.subtitles.cues import Cue as Cue
from asr_app.subtitles.cues import make_cues as make_cues
