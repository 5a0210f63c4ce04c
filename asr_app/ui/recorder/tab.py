"""The recorder's elements. assets/record.js shows and hides them, and writes into them."""

from __future__ import annotations

import json
from html import escape

from asr_app.ui.recorder.texts import RECORDER


def interrupted() -> str:
    """The notice of a recording that an earlier page has left, with its three ways on."""
    buttons = "".join(f'<button class="{name}"></button>' for name in ("go_on", "transcribe", "discard"))
    return (
        f'<section id="interrupted" class="notice" role="status" hidden><p></p><div class="buttons">{buttons}</div></section>'
    )  # fmt: skip


def recorder() -> str:
    """The buttons, level, time, and captions. The words come along in both languages."""
    texts = escape(json.dumps(RECORDER, ensure_ascii=False))
    return f"""<section id="recorder" data-texts="{texts}" data-phase="idle">
<div class="controls"><button id="rec-main"></button><button id="rec-stop" hidden></button><button id="rec-discard" hidden></button>
<time id="rec-time" role="timer" aria-live="off">0:00</time></div>
<div id="rec-level" aria-hidden="true"><div></div></div>
<label id="rec-device" hidden><span></span><select></select></label>
<p id="rec-state" role="status"></p><p id="rec-unsent"></p>
<div id="rec-problem" class="notice bad" role="alert" hidden><p></p></div>
<div id="rec-tunnel" class="notice" hidden><p></p><code></code></div>
<h3 id="captions-title"></h3>
<div id="captions" tabindex="0" role="region" aria-labelledby="captions-title"><p class="hint"></p>
<div class="final" role="log" aria-live="polite"></div><p class="open" aria-hidden="true"></p></div>
<p id="captions-failure"></p>
</section>"""
