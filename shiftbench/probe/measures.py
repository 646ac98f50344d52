"""The numbers: NumPy on features, positions, labels and masks."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.stats import hypergeom

from shiftbench.certify import reader

#: Penalties of the ridge readout that are tried, as multiples of the features' mean square.
PENALTIES = 10.0 ** np.arange(-4, 5)

#: Columns of features that are held in double precision at once.
_COLUMNS = 4096

#: Neighbours and temperature of the votes, as for ImageNet in Caron et al. 2021 ("Emerging
#: Properties in Self-Supervised Vision Transformers", arXiv 2104.14294).
NEIGHBOURS, TEMPERATURE = 20, 0.07

#: Share of a location that the agent must cover to count as shown there. Ours: thin limbs cover
#: little of any location.
COVERED = 0.1


# -- invariance ----------------------------------------------------------------------------------


def distance(clean: np.ndarray, shifted: np.ndarray) -> float:
    """Return how far a shift moves features, in units of how far other states do.

    √( mean_i ‖f(shifted_i) − f(clean_i)‖² / mean_{i≠j} ‖f(clean_i) − f(clean_j)‖² ): 0 where
    nothing changes, 1 where a frame is as far from its clean one as from a clean frame of another
    state. Scale, offset and number of the features drop out, so encoders compare.

    Args:
        clean, shifted: float (N, F), N ≥ 2, features of the same states.

    Returns:
        At least 0; NaN where clean frames of all states have the same features and shifted ones
        have others.
    """
    moved = np.square(shifted - clean).sum(1, dtype=np.float64).mean()
    # The mean over all pairs is twice the variance, with N − 1 for the pairs of one state.
    apart = 2 * np.square(clean - clean.mean(0)).sum(dtype=np.float64) / (len(clean) - 1)
    if apart == 0:
        return 0.0 if moved == 0 else float("nan")
    return float(np.sqrt(moved / apart))


# -- decodability --------------------------------------------------------------------------------


class Readout:
    """Ridge regression from features to positions, fitted on clean frames.

    Features are centred, not scaled one by one: what hardly varies in clean frames must not be
    blown up in shifted ones. Positions are standardised. There are more features than frames, so
    it is solved in the dual form: with K = X Xᵀ = U diag(s) Uᵀ the coefficients are
    Xᵀ U diag(1 / (s + λ)) Uᵀ Y, for any number of penalties λ from one decomposition (Saunders,
    Gammerman & Vovk 1998, "Ridge Regression Learning Algorithm in Dual Variables", ICML).

    Args:
        features: float32 (N, F), N ≥ 5, in the order of their episodes.
        positions: float (N, P).

    Attributes:
        penalty: the one of `PENALTIES` with the least error on the last fifth, which the
            coefficients are not fitted on. λ is that times the mean square of a frame's features.
    """

    def __init__(self, features: np.ndarray, positions: np.ndarray) -> None:
        count = len(features) - len(features) // 5
        self._mean = features[:count].mean(0)
        kernel = _products(features, features[:count], self._mean)
        self._offset = positions[:count].mean(0)
        scale = positions[:count].std(0)
        self._scale = np.where(scale > 0, scale, 1.0)
        wanted = (positions - self._offset) / self._scale
        values, vectors = np.linalg.eigh(kernel[:count])
        turned = vectors.T @ wanted[:count]
        unit = np.trace(kernel[:count]) / count or 1.0  # features that never vary give nothing

        def dual(penalty: float) -> np.ndarray:
            return vectors @ (turned / (values + penalty * unit)[:, None])

        errors = [
            np.square(kernel[count:] @ dual(penalty) - wanted[count:]).sum()
            for penalty in PENALTIES
        ]
        self.penalty = float(PENALTIES[np.argmin(errors)])
        weights = dual(self.penalty).astype(np.float32)
        self._weights = features[:count].T @ weights - np.outer(self._mean, weights.sum(0))

    def read(self, features: np.ndarray) -> np.ndarray:
        """Map features float32 (N, F) to positions float64 (N, P)."""
        read = (features - self._mean) @ self._weights
        return read * self._scale + self._offset


def _products(a: np.ndarray, b: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return (a − mean) (b − mean)ᵀ in double precision: (N, F) and (M, F) → float64 (N, M)."""
    total = np.zeros((len(a), len(b)))
    for start in range(0, a.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        middle = mean[part].astype(np.float64)
        total += (a[:, part] - middle) @ (b[:, part] - middle).T
    return total


def explained(read: np.ndarray, true: np.ndarray) -> float:
    """Return R² of positions, averaged over those that vary.

    1 − Σ_i (read_i − true_i)² / Σ_i (true_i − mean)² for each position: 1 at best, 0 for a readout
    that always says the mean, below for a worse one, without a limit.

    Args:
        read, true: float (N, P).

    Returns:
        NaN where no position varies.
    """
    each = reader.explained(read, true)
    varies = ~np.isnan(each)
    return float(each[varies].mean()) if varies.any() else float("nan")


# -- forgetting ----------------------------------------------------------------------------------


def knn_accuracy(
    memory: np.ndarray, labels: np.ndarray, queries: np.ndarray, answers: np.ndarray
) -> float:
    """Return the share of queries that their nearest neighbours label rightly.

    The `NEIGHBOURS` of largest cosine similarity s vote with weight exp(s / `TEMPERATURE`).
    Features are centred on the memory's mean first: a common offset would make all alike.

    Args:
        memory, queries: float (M, F) and (N, F), features.
        labels, answers: int (M,) and (N,), 0 and up.
    """
    middle = memory.mean(0)
    known, asked = (_unit(features - middle) for features in (memory, queries))
    likeness = asked @ known.T
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = np.exp(np.take_along_axis(likeness, nearest, 1) / TEMPERATURE)
    votes = np.stack(
        [(weights * (labels[nearest] == label)).sum(1) for label in range(labels.max() + 1)], 1
    )
    return float((votes.argmax(1) == answers).mean())


def _unit(features: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)


# -- attention to the agent ----------------------------------------------------------------------


def attention(activity: np.ndarray, agent: np.ndarray) -> tuple[float, float]:
    """Return how well the most active locations of a feature map cover the agent.

    The agent is shown at the k locations of which it covers at least `COVERED`. The Jaccard index
    |A ∩ B| / |A ∪ B| compares these with the k most active ones; it is averaged over frames. A
    frame in which the agent is nowhere does not count.

    Args:
        activity: float (N, h, w), the norm of the features at each location.
        agent: bool (N, H, W), its pixels.

    Returns:
        The mean Jaccard index in [0, 1], and what k locations drawn at random would have; NaN
        twice where no frame shows the agent.
    """
    count, height, width = activity.shape
    shown = (shares(agent, height, width) >= COVERED).reshape(count, -1)
    order = np.argsort(-activity.reshape(count, -1), axis=1, kind="stable")
    found, chance = [], []
    for mask, ranked in zip(shown, order, strict=True):
        k = int(mask.sum())
        if k:
            common = int(mask[ranked[:k]].sum())
            found.append(common / (2 * k - common))
            chance.append(_chance(height * width, k))
    if not found:
        return float("nan"), float("nan")
    return float(np.mean(found)), float(np.mean(chance))


@cache
def _chance(locations: int, k: int) -> float:
    """Return the mean Jaccard index of two random sets of ``k`` of the locations."""
    common = np.arange(k + 1)
    return float(hypergeom.pmf(common, locations, k, k) @ (common / (2 * k - common)))


def shares(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the share of each location that a mask covers.

    Args:
        mask: bool (N, H, W).
        height, width: of the map; they need not divide H and W.

    Returns:
        float64 (N, height, width) in [0, 1].
    """
    down, across = (
        _overlap(side, cells) for side, cells in zip(mask.shape[1:], (height, width), strict=True)
    )
    return down @ mask.astype(np.float64) @ across.T


def _overlap(side: int, cells: int) -> np.ndarray:
    """Return which share of each cell is which pixel: float64 (cells, side), rows sum to 1."""
    edges = np.linspace(0, side, cells + 1)[:, None]
    pixels = np.arange(side)
    common = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.clip(common, 0, None) * cells / side
