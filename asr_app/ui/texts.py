"""Every word of the page, in both its languages."""

from __future__ import annotations

from html import escape

from asr_app.ui.bench.texts import BENCH
from asr_app.ui.choice_texts import CHOICES
from asr_app.ui.compare.texts import COMPARE
from asr_app.ui.corrections.texts import CORRECTIONS
from asr_app.ui.hotword_texts import HOTWORDS
from asr_app.ui.recorder.texts import RECORDER
from asr_app.ui.recording_texts import RECORDING
from asr_app.ui.speaker_texts import SPEAKERS

LANGUAGES = {"中文": "zh", "English": "en"}

TEXTS: dict[str, dict[str, str]] = {
    "title": {"en": "Speech recognition with a precision switch", "zh": "可切换精度的语音识别"},
    "tagline": {
        "en": "Your recording, transcribed at the precision you chose, with proof of what it cost.",
        "zh": "以您选择的精度转写录音，并用实测数据说明代价。",
    },
    "demo": {
        "en": "<b>Demo model.</b> It learned from synthetic voices and knows only digits, dates, smart-home commands and "
        "some two hundred everyday sentences, in Mandarin and English. For real speech choose another model.",
        "zh": "<b>演示模型。</b>它用合成语音训练，只认识数字、日期、家居指令和约两百句普通话与英语日常用语。如需识别真实语音，请选择其他模型。",
    },
    "not_ready": {"en": "{model} could not be made ready.", "zh": "{model} 未能就绪。"},
    "not_ready_instead": {
        "en": "{model} could not be made ready; the demo model answers in its place.",
        "zh": "{model} 未能就绪，暂由演示模型代替。",
    },
    "why": {"en": "Why, and what to do", "zh": "原因与解决办法"},
    "try_again": {"en": "Try again", "zh": "重试"},
    "stop_download": {"en": "Stop", "zh": "停止"},
    "arriving_downloading": {"en": "Downloading {model}", "zh": "正在下载 {model}"},
    "arriving_quantising": {"en": "Quantising {model} (once)", "zh": "正在量化 {model}（仅一次）"},
    "arriving_loading": {"en": "Loading {model}", "zh": "正在加载 {model}"},
    "already": {
        "en": "Recordings can be given already: they are transcribed as soon as it is ready.",
        "zh": "现在就可以提交录音，模型就绪后会立即转写。",
    },
    "then": {"en": "Next: {models}.", "zh": "接下来：{models}。"},
    "of": {"en": "{done} of {total}", "zh": "{done} / {total}"},
    "on_its_way": {"en": "Waiting for the model", "zh": "正在等待模型"},
    "group_on_disk": {"en": "On this disk", "zh": "已在本机"},
    "group_to_download": {"en": "To download (once)", "zh": "需要下载（仅一次）"},
    "group_demo": {"en": "Demo (small vocabulary)", "zh": "演示（小词汇量）"},
    "better_for_mandarin": {
        "en": "For Mandarin, {one} ({one_size}) or {two} ({two_size}) is the better choice.",
        "zh": "识别普通话，{one}（{one_size}）或 {two}（{two_size}）效果更好。",
    },
    "fetch_and_choose": {"en": "Download {model} ({size}) and use it", "zh": "下载并使用 {model}（{size}）"},
    "choose": {"en": "Use {model}", "zh": "使用 {model}"},
    "good_demo": {"en": "To try the page; real speech is often misheard.", "zh": "仅供体验；真人语音常会识别错误。"},
    "good_whisper_tiny": {
        "en": "99 languages; a rough transcript of clear English.",
        "zh": "99 种语言；适合清晰英语的粗略转写。",
    },
    "good_whisper_base": {
        "en": "99 languages; good for English and the major European ones, weak for Mandarin.",
        "zh": "99 种语言；英语和主要欧洲语言效果好，普通话较弱。",
    },
    "good_whisper_small": {
        "en": "99 languages; better than base in all of them, fair for Mandarin.",
        "zh": "99 种语言；各语言均优于 base，普通话尚可。",
    },
    "good_whisper_medium": {
        "en": "99 languages; good for most of them, slow without a GPU.",
        "zh": "99 种语言；多数语言效果好，无 GPU 时较慢。",
    },
    "good_whisper_large-v3": {
        "en": "100 languages; the most accurate Whisper, for a GPU.",
        "zh": "100 种语言；最准确的 Whisper，适合 GPU。",
    },
    "good_whisper_large-v3-turbo": {
        "en": "100 languages; close to large-v3 and several times as fast. Does not translate.",
        "zh": "100 种语言；接近 large-v3，速度快数倍。不支持翻译。",
    },
    "good_paraformer": {"en": "The best for Mandarin.", "zh": "普通话首选。"},
    "good_paraformer_hotwords": {
        "en": "Mandarin with names and terms of your own (hotwords).",
        "zh": "普通话，可用热词指定人名和术语。",
    },
    "good_sensevoice": {
        "en": "Mandarin, Cantonese, English, Japanese and Korean; fast, with emotion and sound events.",
        "zh": "普通话、粤语、英语、日语和韩语；速度快，可识别情感与声音事件。",
    },
    "good_fun-asr-mlt-nano": {
        "en": "31 languages, above all of Asia and Europe; slow without a GPU.",
        "zh": "31 种语言，以亚洲和欧洲语言为主；无 GPU 时较慢。",
    },
    "good_fun-asr-nano": {
        "en": "Mandarin and its dialects, English, Japanese; slow without a GPU.",
        "zh": "普通话及方言、英语、日语；无 GPU 时较慢。",
    },
    "files": {"en": "Recordings (audio or video, up to 20)", "zh": "录音（音频或视频，最多 20 个）"},
    "zip": {"en": "All results as a zip", "zh": "下载全部结果（zip）"},
    "upload": {"en": "Upload", "zh": "上传"},
    "microphone": {"en": "Microphone", "zh": "麦克风"},
    "file": {"en": "Recording (audio or video)", "zh": "录音（音频或视频）"},
    "examples": {"en": "Or try an example", "zh": "或试试示例"},
    "model": {"en": "Model", "zh": "模型"},
    "lite": {"en": "Lite mode", "zh": "轻量模式"},
    "advanced": {"en": "Advanced", "zh": "高级选项"},
    "precision": {"en": "Precision", "zh": "精度"},
    "precision_info": {"en": "A choice here overrides the lite switch.", "zh": "此处的选择优先于轻量模式开关。"},
    "auto": {"en": "as the switch says", "zh": "由开关决定"},
    "spoken": {"en": "Spoken language", "zh": "录音语言"},
    "detect": {"en": "detect", "zh": "自动检测"},
    "among": {"en": "Detect only among", "zh": "仅在这些语言中检测"},
    "among_info": {"en": "None chosen: all languages.", "zh": "不选则为全部语言。"},
    "script": {"en": "Characters of Chinese text", "zh": "中文字体"},
    "script_default": {
        "en": "simplified for Mandarin, Cantonese as the model writes it",
        "zh": "普通话用简体，粤语按模型输出",
    },
    "script_simplified": {"en": "simplified", "zh": "简体"},
    "script_traditional": {"en": "traditional", "zh": "繁体"},
    "script_as-heard": {"en": "as the model writes it", "zh": "按模型输出"},
    "windows": {"en": "Encoder windows", "zh": "编码窗口"},
    "windows_short": {
        "en": "short: as long as the speech (faster, more errors)",
        "zh": "短窗口：与语音等长（更快，错误更多）",
    },
    "windows_full": {"en": "30 s", "zh": "30 秒"},
    "itn": {"en": "Write numbers in digits", "zh": "数字书写规整（ITN）"},
    "emotions": {"en": "Label emotions", "zh": "标注情感"},
    "emotions_info": {
        "en": "The EU's AI Act forbids inferring emotions of people at work and in education.",
        "zh": "欧盟《人工智能法》禁止在工作场所和教育机构推断他人情绪。",
    },
    "translate": {"en": "Translate into English", "zh": "翻译成英语"},
    "prompt": {"en": "Prompt: names and style the recording begins in", "zh": "提示词：录音中的名字与书写风格"},
    "prompt_info": {
        "en": "The model reads the end of it: some 1,000 letters of English, or 190 Chinese characters.",
        "zh": "模型只读取末尾部分：约 190 个汉字，或 1,000 个英文字母。",
    },
    "transcribe": {"en": "Transcribe", "zh": "开始转写"},
    "cancel": {"en": "Cancel", "zh": "取消"},
    "copy": {"en": "Copy text", "zh": "复制文本"},
    "language": {"en": "Language of the page", "zh": "界面语言"},
    "empty_page": {
        "en": "Upload a recording, pick an example, or speak into the microphone. The text appears here as it is heard, "
        "and stays if you reload the page or the tunnel breaks.",
        "zh": "上传录音、选择示例，或对着麦克风说话。识别的文字会逐步显示在这里；刷新页面或隧道中断也不会丢失。",
    },
    "jobs": {"en": "Your recordings", "zh": "我的录音"},
    "state_queued": {"en": "waiting", "zh": "排队中"},
    "state_running": {"en": "running", "zh": "处理中"},
    "state_paused": {"en": "paused", "zh": "已暂停"},
    "pause": {"en": "Pause", "zh": "暂停"},
    "go_on": {"en": "Continue", "zh": "继续"},
    "state_done": {"en": "done", "zh": "完成"},
    "state_failed": {"en": "failed", "zh": "失败"},
    "state_cancelled": {"en": "cancelled", "zh": "已取消"},
    "remove": {"en": "Remove {name}", "zh": "删除 {name}"},
    "sure": {"en": "Remove?", "zh": "删除？"},
    "offline": {
        "en": "The server does not answer. The page goes on trying; running jobs go on without it.",
        "zh": "服务器没有响应。页面会继续尝试连接，正在运行的任务不受影响。",
    },
    "soon": {"en": "The text will appear here.", "zh": "文字将显示在这里。"},
    "no_speech": {"en": "No speech was found in this recording.", "zh": "这段录音中没有检测到语音。"},
    "nothing_given": {
        "en": "There is no recording yet. Upload one, pick an example, or record one.",
        "zh": "还没有录音。请上传、选择示例或录制一段。",
    },
    "queued": {"en": "Waiting: {ahead} before it", "zh": "排队中：前面还有 {ahead} 个任务"},
    "downloading": {"en": "Downloading the model", "zh": "正在下载模型"},
    "quantising": {
        "en": "Making the lower precision (once; minutes for a large model)",
        "zh": "正在生成低精度版本（仅一次，大模型需数分钟）",
    },
    "loading": {"en": "Loading the model", "zh": "正在加载模型"},
    "decoding": {"en": "Decoding the recording", "zh": "正在解码录音"},
    "vad": {"en": "Finding speech", "zh": "正在检测语音"},
    "recognising": {"en": "Recognising", "zh": "正在识别"},
    "left": {"en": "{time} left", "zh": "剩余 {time}"},
    "done": {"en": "Done", "zh": "完成"},
    "cancelled": {"en": "Cancelled. What was heard so far is kept.", "zh": "已取消。已识别的内容会保留。"},
    "failed": {"en": "Failed", "zh": "失败"},
    "ready": {"en": "ready", "zh": "就绪"},
    "self_check": {"en": "self-check failed: {reason}", "zh": "自检未通过：{reason}"},
    "resting": {"en": "rests until the next job", "zh": "空闲已卸载，下次任务时加载"},
    "not_loaded": {"en": "no model loaded", "zh": "未加载模型"},
    "measured": {"en": "Measured here:", "zh": "本机实测："},
    "no_lite": {"en": "This model has no lite variant that works here.", "zh": "该模型在本机没有可用的轻量版本。"},
    "speed_faster": {"en": "{x} times as fast ({low}–{high})", "zh": "速度为 {x} 倍（{low}–{high}）"},
    "speed_slower": {
        "en": "slower: {x} times as fast ({low}–{high})",
        "zh": "更慢：速度为 {x} 倍（{low}–{high}）",
    },
    "speed_same": {"en": "about as fast", "zh": "速度相近"},
    "speed_measuring": {"en": "measuring ...", "zh": "正在测量……"},
    "speed_busy": {
        "en": "measured while the machine was busy: will be measured anew",
        "zh": "测量时机器繁忙，将重新测量",
    },
    "faster": {"en": "{x} times as fast", "zh": "速度为 {x} 倍"},
    "slower": {"en": "slower ({x} times as fast)", "zh": "更慢（速度为 {x} 倍）"},
    "smaller": {"en": "{p} % smaller", "zh": "体积小 {p} %"},
    "both": {"en": "{speed}, {size}", "zh": "{speed}，{size}"},
    "on_examples": {"en": "on the examples", "zh": "在示例上"},
    "on_recordings": {"en": "median, recordings: {n}", "zh": "{n} 段录音的中位数"},
    "languages": {"en": "{n} languages", "zh": "{n} 种语言"},
    "on_disk": {"en": "on this disk", "zh": "已在本机"},
    "to_download": {"en": "downloaded on first use", "zh": "首次使用时下载"},
    "can_language": {"en": "choice of language", "zh": "可指定语言"},
    "can_languages": {"en": "detection among chosen languages", "zh": "限定检测语言"},
    "can_itn": {"en": "numbers in digits", "zh": "数字规整"},
    "can_prompt": {"en": "prompt", "zh": "提示文本"},
    "can_word_timestamps": {"en": "word times", "zh": "词级时间戳"},
    "can_hotwords": {"en": "hotwords", "zh": "热词"},
    "can_translate": {"en": "translation", "zh": "翻译"},
    "can_emotion": {"en": "emotion", "zh": "情感"},
    "can_events": {"en": "sound events", "zh": "声音事件"},
    "tag_happy": {"en": "happy", "zh": "高兴"},
    "tag_sad": {"en": "sad", "zh": "悲伤"},
    "tag_angry": {"en": "angry", "zh": "愤怒"},
    "tag_fearful": {"en": "fearful", "zh": "恐惧"},
    "tag_disgusted": {"en": "disgusted", "zh": "厌恶"},
    "tag_surprised": {"en": "surprised", "zh": "惊讶"},
    "tag_bgm": {"en": "music", "zh": "音乐"},
    "tag_applause": {"en": "applause", "zh": "掌声"},
    "tag_laughter": {"en": "laughter", "zh": "笑声"},
    "tag_cry": {"en": "crying", "zh": "哭声"},
    "tag_sneeze": {"en": "sneeze", "zh": "喷嚏"},
    "tag_cough": {"en": "cough", "zh": "咳嗽"},
    "tag_breath": {"en": "breath", "zh": "呼吸"},
    "card_audio": {"en": "Audio", "zh": "音频时长"},
    "card_total": {"en": "Work in all", "zh": "处理总时长"},
    "card_rtf": {"en": "Real-time factor", "zh": "实时率 RTF"},
    "card_first": {"en": "First text after", "zh": "首段文字"},
    "card_precision": {"en": "Effective precision", "zh": "实际精度"},
    "card_weights": {"en": "Weights", "zh": "权重"},
    "card_timestamps": {"en": "Times of sentences", "zh": "句子时间"},
    "timestamps_vad": {"en": "from speech detection, not the model", "zh": "来自语音检测，非模型给出"},
    "card_doubts": {"en": "Chunks in doubt, done again", "zh": "存疑并重新识别的片段"},
    "doubt_not_finite": {"en": "numbers not finite", "zh": "数值异常"},
    "doubt_loop": {"en": "a loop", "zh": "重复循环"},
    "doubt_empty": {"en": "speech, but no words", "zh": "有语音但无文字"},
    "doubt_unheard": {"en": "speech without words, heard again louder", "zh": "有语音但无文字，放大后重新识别"},
    "doubt_kept": {"en": "(kept as it was)", "zh": "（保留原结果）"},
    "card_given_back": {"en": "Given back by models that went", "zh": "卸载其他模型释放的内存"},
    "card_peak": {"en": "Peak memory", "zh": "内存峰值"},
    "card_device_peak": {"en": "Peak on the GPU", "zh": "显存峰值"},
    "comma": {"en": ", ", "zh": "，"},
    "unsure_word": {
        "en": "in doubt: the model gave {percent} to a part of this word",
        "zh": "存疑：模型给这个词的某一部分的概率为 {percent}",
    },
    "unsure_words": {"en": "Words in doubt: {words}", "zh": "存疑的词：{words}"},
    "unsure_show": {"en": "Underline words in doubt ({n} of {of})", "zh": "为存疑的词加下划线（{of} 个词中有 {n} 个）"},
    "unsure_legend": {
        "en": "Measured {on} with Whisper base: {precision} of the underlined words are wrong ({wrong} of all words), and "
        "{recall} of the wrong words are underlined. Words that are missing leave no mark.",
        "zh": "用 Whisper base 在{on}上实测：带下划线的词有 {precision} 是错的（全部词中为 {wrong}），错词有 {recall} 带下划线。"
        "漏掉的词没有标记。",
    },
    "unsure_on_en": {"en": "on English", "zh": "英语"},
    "unsure_on_zh": {"en": "on Chinese", "zh": "中文"},
    "unsure_on_others": {"en": "on other languages", "zh": "其他语言"},
    "unsure_more": {"en": "How it was measured", "zh": "测量方法"},
    "before": {"en": "Before the work:", "zh": "处理之前："},
    "stage_queue": {"en": "wait", "zh": "排队"},
    "stage_load": {"en": "load", "zh": "加载"},
    "stage_warmup": {"en": "warm-up", "zh": "预热"},
    "stage_decode": {"en": "decode", "zh": "解码"},
    "stage_vad": {"en": "VAD", "zh": "语音检测"},
    "stage_asr": {"en": "recognition", "zh": "识别"},
    "stage_punctuation": {"en": "punctuation", "zh": "标点"},
} | COMPARE
TEXTS |= HOTWORDS
TEXTS |= SPEAKERS
TEXTS |= CORRECTIONS
TEXTS |= BENCH
TEXTS |= {f"recorder_{key}": texts for key, texts in RECORDER.items()}
TEXTS |= CHOICES
TEXTS |= RECORDING


def in_both(key: str) -> str:
    """Attributes that hold the text of `key` in both languages: page.js writes that of the page into the element."""
    return " ".join(f'data-{language}="{escape(t(key, language))}"' for language in ("en", "zh"))


def t(key: str, language: str, **values: object) -> str:
    """The text of `key`, in English for any language that is not Chinese."""
    return TEXTS[key]["zh" if language == "zh" else "en"].format(**values)
