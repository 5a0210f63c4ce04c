"""Embeddings grouped by speaker, on made-up ones whose speakers are known."""

from __future__ import annotations

import numpy as np
import pytest

from asr_app.speakers.clusters import cluster


def voices(sizes: list[int], noise: float = 0.06, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Embeddings around a random centre for each speaker, in turns, and the speaker of each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(sizes), 192))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    owners = [speaker for speaker, size in enumerate(sizes) for _ in range(size)]
    return np.array([centres[o] + noise * rng.standard_normal(192) for o in owners]), owners


@pytest.mark.parametrize("sizes", [[8], [6, 9], [12, 5, 7], [5, 5, 5, 5, 5]])
def test_the_number_of_speakers_is_found(sizes):
    embeddings, owners = voices(sizes, 0.03)
    assert cluster(embeddings).tolist() == owners


def test_speakers_are_numbered_as_they_appear():
    embeddings, owners = voices([6, 6, 6], 0.03)
    order = np.random.default_rng(1).permutation(len(owners))
    found = cluster(embeddings[order]).tolist()
    assert list(dict.fromkeys(found)) == [0, 1, 2]
    assert len({(owners[i], found[n]) for n, i in enumerate(order)}) == 3


def test_a_number_that_is_asked_for_is_kept():
    embeddings, owners = voices([7, 7], 0.03)
    assert cluster(embeddings, 2).tolist() == owners
    assert set(cluster(embeddings, 1).tolist()) == {0}
    assert len(set(cluster(embeddings, 4).tolist())) <= 4


@pytest.mark.parametrize("count", [None, 1, 9])
@pytest.mark.parametrize("windows", [0, 1, 2])
def test_fewer_windows_than_speakers(windows, count):
    embeddings, _ = voices([1] * windows) if windows else (np.zeros((0, 192)), [])
    found = cluster(embeddings, count).tolist()
    assert len(found) == windows
    assert len(set(found)) <= windows


def test_a_window_of_silence_is_no_fault():
    embeddings, _ = voices([5, 5], 0.03)
    embeddings[3] = 0
    assert len(cluster(embeddings)) == 10


def test_a_stray_window_is_no_speaker():
    embeddings, owners = voices([9, 9, 1], 0.03)
    assert cluster(embeddings).tolist()[:18] == owners[:18]
    assert len(set(cluster(embeddings).tolist())) == 2


def test_hours_are_clustered_in_blocks():
    embeddings, owners = voices([1500, 1200, 800], 0.03)
    order = np.random.default_rng(1).permutation(len(owners))
    found = cluster(embeddings[order]).tolist()
    assert len({(owners[i], found[n]) for n, i in enumerate(order)}) == len(set(found)) == 3
    assert len(set(cluster(embeddings[order], 2).tolist())) == 2
