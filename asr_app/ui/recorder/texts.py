"""Words of the recorder, in both languages of the page. assets/record.js fills in what stands in braces."""

RECORDER: dict[str, dict[str, str]] = {
    "record": {"en": "Record", "zh": "录音"},
    "pause": {"en": "Pause", "zh": "暂停"},
    "go_on": {"en": "Continue", "zh": "继续"},
    "stop": {"en": "Stop and transcribe", "zh": "停止并转写"},
    "transcribe": {"en": "Transcribe", "zh": "转写"},
    "discard": {"en": "Discard", "zh": "丢弃"},
    "sure": {"en": "Discard it?", "zh": "确定丢弃？"},
    "name": {"en": "Microphone", "zh": "麦克风"},
    "device": {"en": "Microphone", "zh": "麦克风设备"},
    "level": {"en": "Level", "zh": "音量"},
    "length": {"en": "Length", "zh": "时长"},
    "captions": {"en": "Captions", "zh": "实时字幕"},
    "captions_hint": {
        "en": "Words appear here while you speak. When you stop, the whole recording is recognised once more.",
        "zh": "说话时文字会显示在这里。停止后会对整段录音重新识别。",
    },
    "now_recording": {"en": "Recording.", "zh": "正在录音。"},
    "now_paused": {"en": "Paused. The recording is kept.", "zh": "已暂停，录音已保存。"},
    "now_ending": {
        "en": "Transcribed as soon as all of it is on the server.", "zh": "全部发送到服务器后即开始转写。",
    },
    "now_handing": {"en": "On the server. Its transcription begins.", "zh": "已到服务器，即将开始转写。"},
    "now_elsewhere": {"en": "Another tab of this browser is recording.", "zh": "此浏览器的另一个标签页正在录音。"},
    "unsent": {"en": "{seconds} s wait to be sent.", "zh": "{seconds} 秒待发送。"},
    "unsent_offline": {
        "en": "The server does not answer: {seconds} s wait to be sent, safe in this browser.",
        "zh": "服务器没有响应：{seconds} 秒待发送，已保存在此浏览器中。",
    },
    "unsent_login": {
        "en": "The login has expired: log in again in another tab. {seconds} s wait to be sent, safe in this browser.",
        "zh": "登录已过期：请在另一个标签页重新登录。{seconds} 秒待发送，已保存在此浏览器中。",
    },
    "unsafe": {
        "en": "This browser keeps nothing on disk: do not close the page before all is sent.",
        "zh": "此浏览器无法保存数据：全部发送之前请勿关闭页面。",
    },
    "interrupted": {
        "en": "A recording of {length} was interrupted at {at}.", "zh": "一段 {length} 的录音在 {at} 中断。",
    },
    "forgotten": {
        "en": "The server has lost the beginning of the recording. What was still in this browser is kept.",
        "zh": "服务器已丢失录音的开头。此浏览器中尚存的部分已保留。",
    },
    "no_secure": {
        "en": "Browsers give no microphone to a page that comes over plain http from another machine.",
        "zh": "通过普通 http 打开其他机器上的页面时，浏览器不允许使用麦克风。",
    },
    "no_permission": {
        "en": "The browser was not allowed to use the microphone. Allow it beside the address of the page, then press Record.",
        "zh": "浏览器未获准使用麦克风。请在地址栏旁允许，然后再点“录音”。",
    },
    "no_device": {
        "en": "No microphone was found. Connect one, then press Record.", "zh": "没有找到麦克风。请连接后再点“录音”。",
    },
    "no_reading": {
        "en": "The microphone cannot be read; another program may have it. Close that program, then press Record.",
        "zh": "无法读取麦克风，可能被其他程序占用。请关闭该程序后再点“录音”。",
    },
    "no_restart": {
        "en": "This microphone cannot continue the recording (another sample rate). Transcribe it, then begin a new one.",
        "zh": "此麦克风的采样率不同，无法继续这段录音。请先转写，再开始新的录音。",
    },
    "tunnel": {
        "en": "Open a tunnel on the machine with the microphone, then the page at its localhost:",
        "zh": "在有麦克风的机器上打开隧道，然后通过该机器的 localhost 访问本页：",
    },
    "captions_left_out": {
        "en": "[{time} without captions: recognition was behind]", "zh": "[识别滞后，跳过 {time} 的字幕]",
    },
    "captions_off": {"en": "No captions: {why}", "zh": "没有实时字幕：{why}"},
}  # fmt: skip
