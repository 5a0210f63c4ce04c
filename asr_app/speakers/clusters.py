"""Groups embeddings by speaker: agglomerative clustering by the mean cosine distance between groups.

Above a distance two groups are two speakers. The method and the distance are those of CAM++'s authors for recordings of
some minutes, and the best of those that were measured (docs/speakers.md). Source:
https://github.com/modelscope/3D-Speaker (speakerlab/process/cluster.py, AHCluster).
"""

from __future__ import annotations

import numpy as np

DISTANCE = 0.6  # mean cosine distance between the windows of two groups, from which on they are two speakers
_LEAST = 2  # windows of a speaker, if others have more; a lone one goes to the nearest speaker
_BLOCK = 1500  # embeddings that are clustered at once: their distances take 9 MB


def cluster(embeddings: np.ndarray, count: int | None = None) -> np.ndarray:
    """The speaker of each embedding `(n, d)`, int `(n,)`, numbered from 0 by first appearance.

    With `count`, at most so many speakers are found: fewer where there are fewer embeddings. More than 1,500 embeddings
    are clustered in blocks, and the groups of the blocks after them.
    """
    if not len(embeddings):
        return np.zeros(0, int)
    points = _unit(np.asarray(embeddings, np.float64))
    blocks = [points[i : i + _BLOCK] for i in range(0, len(points), _BLOCK)]
    if len(blocks) == 1:
        groups = _groups(points, np.ones(len(points)), count)
    else:
        groups = np.zeros(len(points), int)
        for i, block in enumerate(blocks):
            own = _groups(block, np.ones(len(block)), None, least=1)
            groups[i * _BLOCK : i * _BLOCK + len(block)] = own + (groups.max() + 1 if i else 0)
        sizes = np.bincount(groups).astype(float)
        # Products of two means are the mean products of their windows: distances mean the same as among windows.
        groups = _groups(_sums(points, groups) / sizes[:, None], sizes, count)[groups]
    groups = _nearest(points, _centres(points, groups))
    order = {group: i for i, group in enumerate(dict.fromkeys(groups.tolist()))}
    return np.array([order[group] for group in groups.tolist()])


def _groups(points: np.ndarray, sizes: np.ndarray, count: int | None, least: int = _LEAST) -> np.ndarray:
    """Groups of vectors, each the mean of `sizes` windows, int `(n,)`. Small groups go to the nearest others."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(points) == 1:
        return np.zeros(1, int)
    distances = 1 - points @ points.T  # not scipy's, which is NaN for a vector of zeros
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(np.maximum(distances, 0.0), checks=False), "average")
    if count is None:
        groups = fcluster(tree, DISTANCE, "distance") - 1
        wanted = None
    else:
        groups, wanted = _as_many(tree, sizes, count, least), count
    weights = np.bincount(groups, sizes)
    large = np.flatnonzero(weights >= least)
    if wanted is not None and len(large) > wanted:
        large = np.sort(np.argsort(-weights)[:wanted])
    if not len(large) or len(large) == len(weights):
        large = np.arange(len(weights))
    centres = _centres(points * sizes[:, None], groups)[large]
    kept = {group: i for i, group in enumerate(large.tolist())}
    nearest = _nearest(points, centres)
    return np.array([kept.get(group, near) for group, near in zip(groups.tolist(), nearest.tolist(), strict=True)])


def _as_many(tree: np.ndarray, sizes: np.ndarray, count: int, least: int) -> np.ndarray:
    """The groups of the highest cut of the tree with `count` groups of `least` windows; without one, of any size."""
    from scipy.cluster.hierarchy import fcluster

    for groups in range(count, min(len(sizes), 10 * count) + 1):
        found = fcluster(tree, groups, "maxclust") - 1
        if (np.bincount(found, sizes) >= least).sum() >= count:
            return found
    return fcluster(tree, count, "maxclust") - 1


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _sums(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    sums = np.zeros((groups.max() + 1, points.shape[1]))
    np.add.at(sums, groups, points)
    return sums


def _centres(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return _unit(_sums(points, groups))


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    nearest: np.ndarray = np.argmax(points @ centres.T, axis=1)
    return nearest
