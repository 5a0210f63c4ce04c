"""The effect of hotwords in a result: a list for each hotword, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from asr_app.datatypes import Transcript
from asr_app.strikes import HotwordEffect, Strike
from asr_app.ui.render import clock
from asr_app.ui.texts import t


def section(done: Transcript | None, language: str) -> str:
    """Each hotword with the places that it changed, which play on a click, or that it had no effect."""
    if done is None or not done.hotwords:
        return ""
    struck = [effect for effect in done.hotwords if effect.strikes]
    items = "".join(
        f"<li><b>{escape(_name(effect, language))}</b> {' '.join(_place(s) for s in effect.strikes)}</li>"
        for effect in struck
    )
    idle = [effect for effect in done.hotwords if not effect.strikes]
    rest = "".join(f"<li>{escape(_idle(effect, language))}</li>" for effect in idle)
    if rest and len(idle) > 5:
        rest = f"<li><details><summary>{t('hotword_no_effect_of', language, n=len(idle))}</summary><ul>{rest}</ul></details></li>"
    count = sum(len(effect.strikes) for effect in struck)
    head = _counted("hotword_changed", count, language) if count else t("hotword_changed_none", language)
    return f'<section class="hotwords"><p><b>{t("hotword_effect", language)}</b> {head}</p><ul>{items}{rest}</ul></section>'


def lines(done: Transcript, language: str) -> Iterator[str]:
    """The same for a terminal: a line for each changed place, and one for each hotword without effect."""
    for effect in done.hotwords:
        for s in effect.strikes:
            yield f"{clock(s.start_s)} {s.heard or '–'} → {s.meant or '–'} ({_name(effect, language)})"
        if not effect.strikes:
            yield _idle(effect, language)


def _name(effect: HotwordEffect, language: str) -> str:
    return effect.hotword or t("hotword_beside", language)


def _place(strike: Strike) -> str:
    said = f"<del>{escape(strike.heard or '–')}</del> → <ins>{escape(strike.meant or '–')}</ins>"
    return (
        f'<button class="seek" data-start="{strike.start_s:.3f}"><time>{clock(strike.start_s)}</time> {said}</button>'
    )


def _idle(effect: HotwordEffect, language: str) -> str:
    """`达摩院: no effect (not in the text)`."""
    if effect.found:
        why = _counted("hotword_found", effect.found, language)
    elif effect.way == "none":
        why = t("hotword_unmatched", language)
    else:
        why = t("hotword_absent", language)
    return t("hotword_no_effect", language, hotword=effect.hotword, why=why)


def _counted(key: str, count: int, language: str) -> str:
    """The text of `key` for a count, which has another form for one."""
    return t(f"{key}_one" if count == 1 else key, language, n=count)
