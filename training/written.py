"""Written form of spoken text, with numbers in digits: the target of demo models with inverse text normalisation.

Every number keeps its position, so that a model that works from left to right can learn it: 二十六度 -> 26度,
`five five five` -> `555`, `ten fifteen` -> `10:15`. Small numbers that stand alone stay words.
"""

from __future__ import annotations

import re

from training.vocabulary import EN_DIGITS, EN_ORDINALS, EN_TEENS, EN_TENS, Sentence

_ZH_VALUES = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"幺": 1}
_ZH_RUN = re.compile("(百分之)?([零一二三四五六七八九幺十百]+)(?:(点)([一二三四五六七八九])(?=度))?(?=(.?))")
_ZH_UNITS = "度分月日号元米首点块"
_EN_VALUES = {word: i for i, word in enumerate([*EN_DIGITS, *EN_TEENS])} | {
    word: 10 * i for i, word in enumerate(EN_TENS, start=2)
}
_EN_WORD = re.compile(r"[A-Za-z]+|[^A-Za-z]+")
_LONG_NUMBER = re.compile(r"\d{7,}")
_THRICE = re.compile(r"(\d)\1\1")


def written(sentence: Sentence) -> str:
    """`sentence.text` with its numbers in digits."""
    return _mandarin(sentence.text) if sentence.language == "zh" else _english(sentence.text)


def has_long_number(sentence: Sentence) -> bool:
    """Whether it has seven digits or more in a row, as in telephone numbers."""
    return bool(_LONG_NUMBER.search(written(sentence)))


def has_digit_thrice(sentence: Sentence) -> bool:
    """Whether it has such a number with one digit three times in a row."""
    return any(_THRICE.search(number) for number in _LONG_NUMBER.findall(written(sentence)))


def _mandarin(text: str) -> str:
    def digits(match: re.Match[str]) -> str:
        percent, run, point, tenth, after = match.groups()
        alone = len(run) == 1 and run != "十"
        before = text[: match.start()][-1:]
        in_a_name = before in tuple("周期") or (alone and before in tuple("上下"))  # 星期三, 下一首
        if in_a_name or (alone and not percent and not point and (after not in _ZH_UNITS or run + after == "一点")):
            return match.group()
        value = _mandarin_number(run) + (f".{_ZH_VALUES[tenth]}" if point else "")
        return value + ("%" if percent else "")

    return _ZH_RUN.sub(digits, text)


def _mandarin_number(run: str) -> str:
    """一三八 -> 138, digit by digit; 一百零五 -> 105, by value."""
    if not set(run) & {"十", "百"}:
        return "".join(str(_ZH_VALUES[c]) for c in run)
    total, last = 0, None
    for character in run:
        if character in "十百":
            total += (1 if last is None else last) * (10 if character == "十" else 100)
            last = None
        else:
            last = _ZH_VALUES[character]
    return str(total + (last or 0))


def _english(text: str) -> str:
    pieces = _EN_WORD.findall(text)
    out: list[str] = []
    i = 0
    while i < len(pieces):
        run = _number_words(pieces, i)
        spelled = _english_number(run) if run else None
        out.append(spelled if spelled else pieces[i])
        i += 2 * len(run) - 1 if spelled else 1
    return re.sub(r"(\d) percent", r"\1%", "".join(out))


def _number_words(pieces: list[str], start: int) -> list[str]:
    """The number words from `start` on, joined by single spaces. An `and` between them counts as one."""
    run: list[str] = []
    for i in range(start, len(pieces), 2):
        word = pieces[i].lower()
        joins = bool(run) and (word == "hundred" or (word == "and" and run[-1] == "hundred"))
        if not (joins or word in _EN_VALUES) or (run and pieces[i - 1] != " "):
            break
        run.append(word)
    following = start + 2 * len(run)
    if run and following < len(pieces) and pieces[following].lower() in EN_ORDINALS and run[-1] in EN_TENS:
        run.pop()  # twenty first: an ordinal, no number
    return run if not run or run[-1] != "and" else run[:-1]


def _english_number(run: list[str]) -> str | None:
    """Digits of a run of number words; None for a small number that stands alone."""
    if len(run) == 1 and _EN_VALUES[run[0]] < 10:
        return None
    if all(word in EN_DIGITS for word in run):
        return "".join(str(_EN_VALUES[word]) for word in run)
    if "hundred" in run:
        head, rest = run[: run.index("hundred")], [w for w in run[run.index("hundred") + 1 :] if w != "and"]
        return str(100 * _EN_VALUES[head[0]] + sum(_EN_VALUES[w] for w in rest))
    first, others = _EN_VALUES[run[0]], [_EN_VALUES[w] for w in run[1:]]
    if others and not (first >= 20 and others[0] < 10 and len(others) == 1):  # a time: the hour, then the minutes
        return f"{first}:{sum(others):02d}"
    return str(first + sum(others))
