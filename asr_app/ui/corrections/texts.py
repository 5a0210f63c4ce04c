"""Words of the corrections, in both languages of the page."""

CORRECTIONS: dict[str, dict[str, str]] = {
    "play_line": {"en": "Play {at}", "zh": "播放 {at}"},
    "edit_line": {"en": "Click to correct", "zh": "点击更正"},
    "nothing_said": {"en": "nothing is said", "zh": "（无语音内容）"},
    "line_right": {"en": "Right as it is", "zh": "此行正确"},
    "line_more": {"en": "More for this line", "zh": "此行的更多操作"},
    "line_corrected": {"en": "Corrected. The model had said: {said}", "zh": "已更正。模型原文：{said}"},
    "line_redone": {"en": "Recognised again by {by}. Before: {said}", "zh": "由 {by} 重新识别。原文：{said}"},
    "model_said": {"en": "The model had said: {said}", "zh": "模型原文：{said}"},
    "line_undo": {"en": "Undo the last change of this line", "zh": "撤销此行的上次修改"},
    "line_original": {"en": "Back to what the model said", "zh": "恢复模型原文"},
    "redo_by": {"en": "Recognise this line again:", "zh": "重新识别此行："},
    "redo_start": {"en": "Start", "zh": "开始"},
    "redo_none": {
        "en": "No other precision or model is on this disk.", "zh": "本机没有其他可用的精度或模型。",
    },
    "redo_runs": {"en": "{by} recognises this line again: {stage}", "zh": "{by} 正在重新识别此行：{stage}"},
    "redo_failed": {"en": "{by} could not recognise this line again: {why}", "zh": "{by} 重新识别此行失败：{why}"},
    "redo_dismiss": {"en": "Close", "zh": "关闭"},
    "edit_text": {"en": "What is really said", "zh": "实际内容"},
    "edit_save": {"en": "Save (Enter)", "zh": "保存（回车）"},
    "edit_leave": {"en": "Leave (Esc)", "zh": "放弃（Esc）"},
    "edit_overtaken": {
        "en": "This line was changed in another window to: {said} Yours is not lost: save again to put it in place.",
        "zh": "此行已在另一个窗口改为：{said} 您的文字仍在，再次保存即可替换。",
    },
    "undo_overtaken": {
        "en": "That change is not the last one any more; another window has made a newer one, or has undone it.",
        "zh": "该修改已不是最新的：另一个窗口做了新的修改，或已将其撤销。",
    },
    "changes_hint": {
        "en": "Click a line's text to correct it; ✓ marks a line that is right. From both, the models' errors are counted.",
        "zh": "点击文字即可更正；✓ 表示此行正确。两者都用于统计各模型的错误率。",
    },
    "changes_undo": {"en": "Undo", "zh": "撤销"},
    "changes_corrected": {"en": "corrected: {n}", "zh": "已更正 {n} 行"},
    "changes_confirmed": {"en": "marked right: {n}", "zh": "确认正确 {n} 行"},
    "changes_redone": {"en": "by another model or precision: {n}", "zh": "由其他模型或精度重新识别 {n} 行"},
    "tally_title": {"en": "Error on the lines corrected or marked right here", "zh": "本机已更正或已确认各行的错误率"},
    "tally_basis": {
        "en": "{corrected} corrected and {confirmed} marked right, from {recordings} transcripts on this machine.",
        "zh": "本机 {recordings} 份转写中，已更正 {corrected} 行，确认正确 {confirmed} 行。",
    },
    "tally_basis_one": {
        "en": "{corrected} corrected and {confirmed} marked right, from one transcript on this machine.",
        "zh": "本机 1 份转写中，已更正 {corrected} 行，确认正确 {confirmed} 行。",
    },
    "tally_model": {"en": "Model", "zh": "模型"},
    "tally_error": {"en": "Error", "zh": "错误率"},
    "tally_right": {"en": "Right (words, or Chinese and Japanese characters)", "zh": "正确（词；中文和日文按字）"},
    "tally_of": {"en": "{right} of {units}", "zh": "{right} / {units}"},
    "tally_lines": {"en": "Lines", "zh": "行数"},
    "tally_differ": {
        "en": "The rows stand on different lines: they cannot be held against each other.",
        "zh": "各项依据的行不同，不能直接比较。",
    },
    "tally_few": {
        "en": "These are few lines, and chosen ones: they say little of the others. Mark right lines as well as wrong ones.",
        "zh": "行数很少且经过挑选，不能代表其余部分。除了更正错误的行，也请标记正确的行。",
    },
}  # fmt: skip
