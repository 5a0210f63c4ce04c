"""Docstring sentences begin with their subject, not with "What", "Where", "Of", "How", "Which", "Who" or "As"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from conftest import ROOT

_OPENINGS = re.compile(r"(What|Where|Of|How|Which|Who|Whatever|Whoever|As)\b")
_SENTENCE_END = re.compile(r"(?<=[.:;!?])\s+")
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def inverted(source: str) -> Iterator[tuple[int, str]]:
    """Docstring sentences of `source` that begin with such a word, each with the line of its definition."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED):
            for sentence in _SENTENCE_END.split((ast.get_docstring(node) or "").replace("\n", " ")):
                if _OPENINGS.match(sentence.strip()):
                    yield getattr(node, "lineno", 1), sentence.strip()


@pytest.mark.parametrize("folder", ["asr_app", "benchmarks", "training"])
def test_docstring_sentences_begin_with_their_subject(folder: str) -> None:
    sentences = [
        f"{path.relative_to(ROOT)}:{line}: {sentence}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, sentence in inverted(path.read_text(encoding="utf-8"))
    ]
    assert not sentences, "\n".join(sentences)


def test_an_inverted_sentence_is_found_anywhere_in_a_docstring() -> None:
    source = '"""Notes.\n\nOf any\nkind."""\n\n\ndef f():\n    """A number. What is whole; how far: As `g`."""\n'
    assert list(inverted(source)) == [(1, "Of any kind."), (7, "What is whole;"), (7, "As `g`.")]
