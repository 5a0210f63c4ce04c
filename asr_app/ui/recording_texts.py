"""Texts about the quality of a recording."""

from __future__ import annotations

RECORDING: dict[str, dict[str, str]] = {
    "recording": {"en": "Recording:", "zh": "录音："},
    "recording_good": {"en": "good: ", "zh": "良好："},
    "recording_silent": {"en": "digital silence", "zh": "数字静音"},
    "recording_snr": {"en": "{db} dB signal to noise", "zh": "信噪比 {db} dB"},
    "recording_full_band": {"en": "full bandwidth", "zh": "全频带"},
    "recording_band": {"en": "bandwidth {khz} kHz", "zh": "带宽 {khz} kHz"},
    "recording_pauses": {"en": "{percent} % pauses", "zh": "停顿占 {percent} %"},
    "finding_quiet": {
        "en": "Very quiet: raised by {raised_db} dB for recognition. Record closer to the microphone, or turn it up.",
        "zh": "音量很低：识别前已提高 {raised_db} dB。录音时请靠近麦克风或调高增益。",
    },
    "finding_over_full_scale": {
        "en": "Over full scale: lowered by {lowered_db} dB for recognition, nothing is lost.",
        "zh": "电平超过满刻度：识别前已降低 {lowered_db} dB，没有损失。",
    },
    "finding_clipped": {
        "en": "Clipped: {percent} % of the samples are at full scale, and cannot be restored. Turn the microphone down.",
        "zh": "削波：{percent} % 的采样达到满刻度，无法恢复。录音时请调低增益。",
    },
    "finding_narrow_band": {
        "en": "Narrow band: no speech above {hz} Hz, as on a telephone. Words are less certain; use a wideband original "
        "if there is one.",
        "zh": "窄带：{hz} Hz 以上没有语音，与电话录音相同，识别不够可靠。如有宽带原始录音，请使用它。",
    },
    "finding_noisy": {
        "en": "Noisy: speech is {snr_db} dB above the noise. Record closer to the microphone, or in a quieter place.",
        "zh": "噪声大：语音仅比噪声高 {snr_db} dB。请靠近麦克风或在更安静的地方录音。",
    },
    "finding_no_sound": {
        "en": "No sound: the loudest sample is at {peak_db} dBFS. Check that the microphone was on and not muted.",
        "zh": "没有声音：最大电平为 {peak_db} dBFS。请检查麦克风是否打开、是否静音。",
    },
    "finding_mostly_silent": {
        "en": "{percent} % of it are pauses. If speech is missing, check the microphone's place and its noise gate.",
        "zh": "{percent} % 为停顿。如果缺少语音，请检查麦克风的位置和噪声门设置。",
    },
    "finding_cancelling_channels": {
        "en": "The two channels cancel each other for {seconds} s (one is inverted): the louder one was taken there. "
        "Check the cable or the recorder's settings.",
        "zh": "两个声道有 {seconds} 秒互相抵消（其中一个反相）：该处已改用较响的声道。请检查音频线或录音设备的设置。",
    },
    "finding_silent_channels": {
        "en": "Silent channels: {silent} of {channels}, the first is number {first}. The others were used.",
        "zh": "{channels} 个声道中有 {silent} 个没有声音（第一个是声道 {first}），已使用其余声道。",
    },
    "finding_tracks": {
        "en": "Audio track {track} of {tracks} was transcribed. For another one, export it as a file of its own.",
        "zh": "共 {tracks} 条音轨，已转写第 {track} 条。如需其他音轨，请单独导出。",
    },
    "finding_other_track": {
        "en": "The first choice of {tracks} audio tracks is silent: track {track} was transcribed, the loudest one.",
        "zh": "{tracks} 条音轨中默认的一条没有声音，已转写最响的第 {track} 条。",
    },
    "finding_late_start": {
        "en": "The audio track begins {seconds} s after the file. Times count from the file's start, as in a player.",
        "zh": "音轨比文件晚 {seconds} 秒开始。时间从文件开头算起，与播放器一致。",
    },
    "finding_holes": {
        "en": "{seconds} s are missing inside the audio track. Silence took their place, so that times stay right.",
        "zh": "音轨中缺失 {seconds} 秒，已用静音补齐，以保持时间准确。",
    },
    "finding_breaks_off": {
        "en": "The file is damaged and was read for {seconds} s. Copy or download it again if something is missing.",
        "zh": "文件已损坏，读取到 {seconds} 秒。如有缺失，请重新复制或下载。",
    },
}
