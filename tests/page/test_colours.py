"""The page's colours have WCAG's contrast of 4.5 on every ground that text stands on, light and dark."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

TINTS = (0.0, 0.07, 0.09, 0.14)  # shares of the accent in notices, under the pointer, in the current line


def palette(selector: str) -> dict[str, tuple[int, ...]]:
    """Colours that the first rules of `selector` in page.css name, as red, green and blue, 0 to 255."""
    css = (ROOT / "assets" / "page.css").read_text(encoding="utf-8")
    rules = re.findall(rf"^{re.escape(selector)} {{(.*?)}}", css, re.DOTALL | re.MULTILINE)
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6})", " ".join(rules))
    return {name: tuple(bytes.fromhex(value)) for name, value in found}


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [":root", ".dark"])
@pytest.mark.parametrize("name", ["ink", "soft", "brand", "good", "bad"])
def test_text_can_be_read_on_paper_and_on_tinted_lines(theme, name):
    colours = palette(":root") | palette(theme)
    for tint in TINTS:
        ground = tuple(tint * b + (1 - tint) * p for b, p in zip(colours["brand"], colours["paper"], strict=True))
        assert contrast(colours[name], ground) >= 4.5, (theme, name, tint)


def test_white_can_be_read_on_the_accent():
    assert contrast((255, 255, 255), palette(":root")["strong"]) >= 4.5
