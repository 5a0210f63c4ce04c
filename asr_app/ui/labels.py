"""Components whose words follow the language of the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from asr_app.ui.texts import t


class Labels:
    """Remembers which text goes to which property of a component, so that all can be renamed at once."""

    def __init__(self) -> None:
        self._texts: list[tuple[Any, dict[str, str]]] = []

    def __call__(self, component: Any, **keys: str) -> Any:
        """Registers `component` and returns it; `keys` are its properties and the names of their texts."""
        self._texts.append((component, keys))
        return component

    @property
    def components(self) -> list[Any]:
        return [component for component, _ in self._texts]

    def updates(self, language: str) -> list[Any]:
        """One update for each of `components`."""
        return [gr.update(**self._said(keys, language)) for _, keys in self._texts]

    @staticmethod
    def _said(keys: dict[str, str], language: str) -> dict[str, Any]:
        return {name: t(key, language) for name, key in keys.items()}
