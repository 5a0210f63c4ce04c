"""The right side of the page. page.js puts the job's progress, text, player and result into it, as news.py sends them."""

from __future__ import annotations

import gradio as gr

from asr_app.ui.texts import in_both

_FRAME = f"""<p id="offline" class="notice bad" role="alert" {in_both("offline")} hidden></p>
<div id="progress"></div><button id="hold" hidden></button>
<div id="speakers"></div>
<div id="transcript"><div class="transcript empty" {in_both("empty_page")}></div></div>
<div id="player-box"></div>
<div id="corrections"></div>
<div id="result"></div>
<div id="tally"></div>"""


def lay_out() -> None:
    """Makes the frame, inside the column that is open."""
    gr.HTML(_FRAME, elem_id="frame")
