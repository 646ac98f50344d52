"""How far a frame is from the clean one, in two unrelated measures.

- SSIM, of Wang, Bovik, Sheikh & Simoncelli 2004 ("Image quality assessment: from error visibility
  to structural similarity", IEEE Transactions on Image Processing 13(4)): local means, contrasts
  and correlations of the lumas.
- The features of a convolutional network whose weights are random and fixed: a yardstick that has
  learned nothing, so that no contestant of the benchmark is measured with a relative of itself.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from scipy.ndimage import correlate1d
from torch.nn import functional

from shiftbench import seeding

#: Luma of red, green and blue: ITU-R BT.709.
LUMA = (0.2126, 0.7152, 0.0722)

#: Of Wang et al. 2004: a Gaussian window of 11 px with a standard deviation of 1.5 px, and the two
#: constants (0.01 · 255)² and (0.03 · 255)² that keep flat windows from dividing by zero.
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

#: Channels of the random network's layers, each a convolution of 4 × 4 with stride 2, and the name
#: of its seed. Ours.
CHANNELS, KERNEL = (32, 64, 128), 4
NETWORK = "shiftbench-random-features-1"

#: How much of their mean the filters of the first layer keep. A random filter answers mostly to the
#: even light of a patch, and lighter or darker would outweigh all else; with a fifth it answers
#: mostly to edges and colours, as receptive fields do. Ours.
EVEN = 0.2


def ssim_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return √(1 − SSIM) of the lumas of each pair of images.

    1 − SSIM grows with the square of a small change, its root in proportion to it, like a metric
    (Brunet, Vrscay & Wang 2012, "On the mathematical properties of the structural similarity
    index", IEEE Transactions on Image Processing 21(4)) and like the distance of the features.

    Args:
        a, b: uint8 (N, H, W, 3), H and W at least `WINDOW`.

    Returns:
        float64 (N,) in [0, √2]: 0 for equal images, 1 where nothing correlates.
    """
    # Rounding may leave an SSIM of 1 + 1e-16.
    return np.sqrt(np.maximum(1.0 - ssim(a, b), 0.0))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean SSIM of the lumas of each pair of images, float64 (N,) in [-1, 1].

    As in Wang et al.'s own program, only windows that lie wholly inside the image count.
    """
    x, y = (images @ np.array(LUMA) for images in (a, b))
    mx, my = _blurred(x), _blurred(y)
    vx, vy = _blurred(x * x) - mx * mx, _blurred(y * y) - my * my
    covariance = _blurred(x * y) - mx * my
    luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
    structure = (2 * covariance + C2) / (vx + vy + C2)
    return (luminance * structure).mean((1, 2))


def _blurred(images: np.ndarray) -> np.ndarray:
    """Return the windows' weighted means, float (N, H − 10, W − 10)."""
    half = WINDOW // 2
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        images = correlate1d(images, weights, axis)
    return images[:, half:-half, half:-half]


class RandomFeatures:
    """A small convolutional network with fixed random weights.

    The distance of two images is, averaged over the layers, that of their activations in
    proportion to their size, 2 ‖f − g‖ / (‖f‖ + ‖g‖): 0 for equal images, at most 2.

    Attributes:
        sha256: digest of the weights' bytes (float32, little endian), which a certificate records.
    """

    def __init__(self) -> None:
        rng = seeding.rng(seeding.seed_of(NETWORK))
        digest = hashlib.sha256()
        self._layers: list[torch.Tensor] = []
        before = 3
        for channels in CHANNELS:
            # He et al. 2015 (arXiv 1502.01852): the signal keeps its size through the ReLUs.
            scale = (2 / (before * KERNEL * KERNEL)) ** 0.5
            weights = scale * rng.standard_normal((channels, before, KERNEL, KERNEL))
            if not self._layers:
                weights -= (1 - EVEN) * weights.mean((2, 3), keepdims=True)
            weights = weights.astype("<f4")
            digest.update(weights.tobytes())
            self._layers.append(torch.from_numpy(weights))
            before = channels
        self.sha256 = digest.hexdigest()

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the distance of each pair of images: uint8 (N, H, W, 3) twice → float64 (N,)."""
        total = np.zeros(len(a))
        for f, g in zip(self._activations(a), self._activations(b), strict=True):
            size = np.linalg.norm(f, axis=1) + np.linalg.norm(g, axis=1)
            # Two black images have no features at all, and are equal.
            total += 2 * np.linalg.norm(f - g, axis=1) / np.maximum(size, 1e-12)
        return total / len(self._layers)

    def _activations(self, images: np.ndarray) -> list[np.ndarray]:
        """Return the activations of each layer, float64 (N, n)."""
        maps = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        out = []
        with torch.no_grad():
            for weights in self._layers:
                maps = functional.relu(functional.conv2d(maps, weights, stride=2, padding=1))
                out.append(maps.flatten(1).double().numpy())
        return out
