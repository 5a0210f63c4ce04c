"""Words about speakers, in both languages of the page."""

SPEAKERS: dict[str, dict[str, str]] = {
    "speakers": {"en": "Telling speakers apart", "zh": "正在区分说话人"},
    "speakers_option": {"en": "Speakers", "zh": "说话人"},
    "speakers_info": {
        "en": "Names who says each sentence: S1, S2, ... People who speak at the same time count as one of them.",
        "zh": "标出每句话的说话人：S1、S2……多人同时说话时只计其中一人。",
    },
    "speakers_off": {"en": "not told apart", "zh": "不区分"},
    "speakers_auto": {"en": "told apart, as many as there are", "zh": "区分，人数自动判断"},
    "speakers_count": {"en": "told apart, {n} people", "zh": "区分，共 {n} 人"},
    "speakers_found": {"en": "Speakers:", "zh": "说话人："},
    "speaker_rename": {"en": "Rename {name}", "zh": "为 {name} 改名"},
    "speaker_says": {"en": "Speaker: {name}", "zh": "说话人：{name}"},
    "speakers_not_yet": {
        "en": "Lines can be corrected once the speakers are told apart.",
        "zh": "说话人区分完成后才能更正文字。",
    },
    "changes_renamed": {"en": "speakers named: {n}", "zh": "已命名 {n} 位说话人"},
    "rename_overtaken": {
        "en": "This speaker was given another name in another window. Yours was not kept: rename once more.",
        "zh": "该说话人已在另一个窗口改名，本次修改未保存，请重新改名。",
    },
    "card_speakers": {"en": "Speakers", "zh": "说话人"},
    "card_speakers_value": {"en": "{n} (CAM++, FP32, {size})", "zh": "{n} 人（CAM++，FP32，{size}）"},
    "card_speakers_asked": {
        "en": "{n} of {asked} asked for (CAM++, FP32, {size})",
        "zh": "{n} 人，要求 {asked} 人（CAM++，FP32，{size}）",
    },
    "stage_speakers": {"en": "speakers", "zh": "说话人"},
}
