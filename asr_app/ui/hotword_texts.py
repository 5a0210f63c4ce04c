"""Words of hotwords and their effect, in both languages of the page."""

HOTWORDS: dict[str, dict[str, str]] = {
    "hotwords": {"en": "Hotwords (one a line)", "zh": "热词（每行一个）"},
    "hotwords_info": {
        "en": "A word to listen for, or a rule: misheard => right. Every change is shown in the result.",
        "zh": "每行一个热词，或一条规则：识别结果 => 正确写法。结果中会标出每一处改动。",
    },
    "hotword_effect": {"en": "Hotwords:", "zh": "热词："},
    "hotword_changed": {"en": "{n} places changed", "zh": "改动 {n} 处"},
    "hotword_changed_one": {"en": "1 place changed", "zh": "改动 1 处"},
    "hotword_changed_none": {"en": "nothing changed", "zh": "没有改动"},
    "hotword_before": {"en": "without the hotword: {heard}", "zh": "不用热词时为：{heard}"},
    "hotword_no_effect": {"en": "{hotword}: no effect ({why})", "zh": "{hotword}：无效果（{why}）"},
    "hotword_no_effect_of": {"en": "No effect: {n} hotwords", "zh": "无效果：{n} 个热词"},
    "hotword_found": {"en": "{n} times in the text without its help", "zh": "文本中本来就有 {n} 次"},
    "hotword_found_one": {"en": "once in the text without its help", "zh": "文本中本来就有 1 次"},
    "hotword_absent": {"en": "not in the text", "zh": "文本中没有"},
    "hotword_unmatched": {
        "en": "too short or too common to be matched by sound: write it as misheard => right",
        "zh": "过短或过于常用，无法按读音匹配，请写成：识别结果 => 正确写法",
    },
    "hotword_beside": {"en": "beside the hotwords", "zh": "热词附近的其他改动"},
}
