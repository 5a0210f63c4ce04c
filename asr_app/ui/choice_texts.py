"""Words of presets, of links to choices and of uploads, in both languages of the page."""

CHOICES: dict[str, dict[str, str]] = {
    "skip": {"en": "Skip to the transcript", "zh": "跳到转写结果"},
    "preset": {"en": "Preset", "zh": "预设"},
    "preset_own": {"en": "my own", "zh": "我的设置"},
    "preset_draft": {"en": "quick draft", "zh": "快速草稿"},
    "preset_meeting": {"en": "meeting", "zh": "会议"},
    "preset_verbatim": {"en": "word for word", "zh": "逐字稿"},
    "preset_english": {"en": "into English", "zh": "译成英文"},
    "preset_sets": {"en": "Sets {settings}. The rest stays.", "zh": "设置 {settings}，其余不变。"},
    "preset_setting": {"en": "{option}: {value}", "zh": "{option}：{value}"},
    "and_then": {"en": "; ", "zh": "；"},
    "on": {"en": "on", "zh": "开"},
    "off": {"en": "off", "zh": "关"},
    "copy_link": {"en": "Copy a link to these choices", "zh": "复制当前设置的链接"},
    "copied": {"en": "Copied", "zh": "已复制"},
    "link_ignored": {
        "en": "The link asks for something that this server does not know: {names}. That was ignored.",
        "zh": "链接中有本服务器无法识别的内容：{names}。已忽略。",
    },
    "link_model": {"en": "model", "zh": "模型"},
    "link_lite": {"en": "lite mode", "zh": "轻量模式"},
    "link_precision": {"en": "precision", "zh": "精度"},
    "link_language": {"en": "spoken language", "zh": "录音语言"},
    "link_lang": {"en": "language of the page", "zh": "界面语言"},
    "link_tab": {"en": "tab", "zh": "标签页"},
    "link_theme": {"en": "theme", "zh": "主题"},
    "drop": {"en": "Drop files anywhere, or click to choose them", "zh": "将文件拖到页面任意处，或点击选择"},
    "uploading": {"en": "Uploading {name}", "zh": "正在上传 {name}"},
    "upload_several": {"en": "{name} and {n} more", "zh": "{name} 和另外 {n} 个文件"},
    "upload_storing": {"en": "Sent. The server is storing it.", "zh": "已发送，服务器正在保存。"},
    "upload_already": {
        "en": "Transcribe can be pressed already.", "zh": "现在就可以点击“开始转写”。",
    },
    "upload_stop": {"en": "Stop the upload", "zh": "停止上传"},
    "upload_again": {"en": "Upload again", "zh": "重新上传"},
    "upload_close": {"en": "Close", "zh": "关闭"},
    "upload_broke": {
        "en": "The upload broke off at {done} of {total}. Check the connection, then upload again.",
        "zh": "上传在 {done} / {total} 处中断。请检查连接后重新上传。",
    },
    "upload_too_big": {
        "en": "{size} are too much for one upload: this server takes {most}. Upload fewer recordings at once, or save them "
        "as mp3.",
        "zh": "{size} 超过了单次上传的上限 {most}。请减少一次上传的录音，或另存为 mp3。",
    },
    "upload_no_room": {
        "en": "The server's disk is full. Free some space on it, then upload again.",
        "zh": "服务器磁盘已满。请清理磁盘后重新上传。",
    },
    "upload_refused": {"en": "The server refused the upload ({status}).", "zh": "服务器拒绝了上传（{status}）。"},
    "upload_folder": {
        "en": "A folder cannot be uploaded. Open it and drop the recordings.", "zh": "无法上传文件夹。请打开文件夹，拖入其中的录音。",
    },
}  # fmt: skip
