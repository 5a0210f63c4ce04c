"""Presets and links to choices, without a browser."""

from __future__ import annotations

import pytest

from asr_app import catalog
from asr_app.ui import links, options, presets
from asr_app.ui.texts import TEXTS

CARDS = catalog.CARDS
HOME = "demo-paraformer"


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_has_words_and_changes_a_default_of_some_model(name):
    assert f"preset_{name}" in TEXTS
    defaults = {
        "lite": False,
        "short_windows": "full",
        "itn": True,
        "translate": False,
        "script": "auto",
        "emotion": False,
    }
    settings = [presets.settings_of(name, card) for card in CARDS.values()]
    assert any(value != defaults[option] for found in settings for option, value in found.items())


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_model_is_offered_presets_of_its_own_options_and_no_two_alike(card):
    offered = [presets.settings_of(name, card) for name in presets.offered(card)]
    assert all(option == "lite" or options.has(card, option) for found in offered for option in found)
    assert all(offered.count(found) == 1 for found in offered)
    for name in presets.offered(card):
        for language in ("en", "zh"):
            assert presets.info(name, card, language).startswith('<p class="evidence">')


def test_a_preset_says_what_it_sets():
    assert "Lite mode: on; Encoder windows: short" in presets.info("draft", CARDS["whisper-base"], "en")
    assert "数字书写规整（ITN）：关；中文字体：按模型输出" in presets.info("verbatim", CARDS["sensevoice-small"], "zh")


def test_my_own_choices_come_back_after_presets():
    own = {"model": "whisper-base", "hotwords": "Ada", "lite": False, "precision": "fp32", "language": "en"}
    draft = presets.apply("draft", own)
    assert (draft["lite"], draft["precision"], draft["short_windows"], draft["hotwords"]) == (
        True,
        "auto",
        "short",
        "Ada",
    )
    english = presets.apply("english", draft)
    assert "short_windows" not in english  # of the preset before
    assert (english["translate"], english["precision"], english["lite"]) == (True, "fp32", False)
    assert presets.apply(presets.OWN, english) == own


def test_a_preset_that_nobody_knows_changes_nothing():
    assert presets.apply("<b>", {"lite": True}) == {"lite": True}
    assert presets.chosen({"preset": "<b>"}, CARDS[HOME]) == presets.OWN


def test_a_link_chooses_what_the_server_offers():
    query = {
        "model": "whisper-base",
        "lite": "1",
        "precision": "int8",
        "language": "zh",
        "lang": "zh",
        "tab": "compare",
    }
    link = links.read(query, CARDS, {}, HOME)
    assert link.choices == {"model": "whisper-base", "lite": True, "precision": "int8", "language": "zh"}
    assert (link.page_language, link.tab, link.ignored) == ("zh", "compare", ())
    assert link.note("en") == ""


@pytest.mark.parametrize(
    ("query", "ignored"),
    [
        ({"model": "/etc/passwd"}, ("model",)),
        ({"model": "<img src=x onerror=alert(1)>", "lite": "yes", "precision": "int4"}, ("model", "lite", "precision")),
        ({"language": "zh"}, ("language",)),  # the demo model has no choice of language
        ({"model": "whisper-base", "language": "xx", "lang": "fr", "tab": "system", "theme": "pink"},
         ("language", "lang", "tab", "theme")),
        ({"utm_source": "<script>", "hotwords": "x", "prompt": "x"}, ()),
    ],
)  # fmt: skip
def test_what_a_link_asks_in_vain_is_named_without_its_text(query, ignored):
    link = links.read(query, CARDS, {}, HOME)
    assert link.ignored == ignored
    assert not set(link.choices) - {"model"}
    for language in ("en", "zh"):
        note = link.note(language)
        assert bool(note) == bool(ignored)
        assert not any(value in note for value in query.values() if len(value) > 3)


def test_a_link_without_a_model_is_read_for_the_kept_one():
    assert links.read({"language": "ja"}, CARDS, {"model": "whisper-base"}, HOME).choices == {"language": "ja"}
