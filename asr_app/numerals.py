"""Chinese text with its numbers in digits, so that 二十五 and 25 compare as equal.

Own code: both sides of a comparison must come out alike, whatever they were. cn2an 0.5 leaves 两百 as 2百 and refuses
一百九十万零三千 (Ailln/cn2an#84, #89), and the grammars of WeTextProcessing leave small numbers as they are written.
"""

from __future__ import annotations

import re
from decimal import Decimal

_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "幺": 1}
_SMALL = {"十": 10, "百": 100, "千": 1000}
_LARGE = {"万": 10**4, "亿": 10**8}
_DIGIT = f"[0-9{''.join(_DIGITS)}]"
_NUMBER = re.compile(
    f"(?P<whole>[0-9{''.join(_DIGITS)}{''.join(_SMALL)}{''.join(_LARGE)}]+)"
    f"(?:[点.](?P<fraction>{_DIGIT}+)(?![{''.join(_SMALL)}])(?P<scale>[{''.join(_LARGE)}]*))?"
)
_TENTHS = {"百": 10, "千": 100, "万": 1000, "亿": 10**7}  # 一百五 is 150, 三万五 is 35000
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_PERCENT = re.compile(f"([0-9{''.join(_DIGITS)}{''.join(_SMALL)}{''.join(_LARGE)}.点]+)%")
_PIECE = re.compile("[0-9]+|.")


def in_digits(text: str) -> str:
    """`text` (simplified, half-width) with each number in digits: `三点五万` and `3.5万` become `35000`.

    A number without units is a row of digits: 二零二四 is 2024. A point is written 点, as it is spoken, and N % is
    百分之N. Rows that are no number, as 三四十, keep their units.
    """
    text = _PERCENT.sub(r"百分之\1", _THOUSANDS.sub("", text))
    return _NUMBER.sub(_in_digits, text)


def _in_digits(found: re.Match[str]) -> str:
    whole = _value(found["whole"])
    if whole is None:
        whole = _row(found["whole"])
    elif found["scale"]:
        scaled = Decimal(f"{whole}.{_row(found['fraction'])}")
        for unit in found["scale"]:
            scaled *= _LARGE[unit]
        return f"{scaled.normalize():f}".replace(".", "点")
    return whole if found["fraction"] is None else f"{whole}点{_row(found['fraction'])}{found['scale']}"


def _row(text: str) -> str:
    """Each digit by itself; units stay."""
    return "".join(str(_DIGITS.get(c, c)) for c in text)


def _value(text: str) -> str | None:
    """The number in digits; None for a row of digits and units that is none, such as 百 or 三四十."""
    if not any(c in _SMALL or c in _LARGE for c in text):
        return _row(text)
    total = section = unit = 0  # before the last 万 or 亿, since then, and the last unit
    number: int | None = None  # the digits since the last unit
    last = ""
    for piece in _PIECE.findall(text):
        if piece in _SMALL:
            if (number is None and piece != "十") or 0 < unit <= _SMALL[piece]:
                return None
            unit = _SMALL[piece]
            section, number = section + unit * (1 if number is None else number), None
        elif piece in _LARGE:
            section += number or 0
            if piece == "亿":
                total, section = total + section, 0
            if not total + section:
                return None
            total = total * _LARGE[piece] if piece == "亿" else total + section * _LARGE[piece]
            section, unit, number = 0, 0, None
        elif number is not None:
            return None
        elif _row(piece) != "0":
            number = int(_row(piece))
        last, before = piece, last
    if number is not None and len(last) == 1 and before in _TENTHS:
        number *= _TENTHS[before]
    return str(total + section + (number or 0))
