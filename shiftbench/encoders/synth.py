"""`synth` and `synth-2`, the pre-trained vision models that ship with the package.

The first stages of timm's ``mobilenetv4_conv_small_050`` down to strides 8 and 16 (later stages cut
off) with a small neck that merges both into an 8 × 8 × 32 map: 105 thousand parameters. Both were
trained by `shiftbench.pretrain` on random scenes; the cards beside their weights tell how. They
differ in what stands behind the map: `synth` divides all features by one deviation, `synth-2`
whitens them by what varies between two appearances of one scene.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftbench.encoders import _torchvision, loading
from shiftbench.encoders.base import Encoder
from shiftbench.encoders.statistics import RunningStatistics
from shiftbench.encoders.transforms import Standardize
from shiftbench.errors import ShiftBenchError

#: Encoder → its shipped weights; their cards and loss curves lie beside them.
WEIGHTS = {
    name: Path(__file__).resolve().parent / "weights" / f"{name}.safetensors"
    for name in ("synth", "synth-2")
}
#: Encoder → a tensor that its weights alone have.
_OWN = {"synth": "std", "synth-2": "channels"}
#: Height and width of the frames that the network takes, in pixels.
SIZE = 64
#: Side and channels of the feature map.
GRID, CHANNELS = 8, 32
BACKBONE = "mobilenetv4_conv_small_050"
#: Channels of both inputs of the neck once they are merged.
_MERGED = 48

#: What flows between blocks: the current map, and the map at stride 8 once there is one.
State = tuple[Tensor, ...]


class _Step(nn.Module):
    """One block on the current map; a map that is carried along passes unchanged."""

    def __init__(self, body: nn.Module, fork: bool = False) -> None:
        super().__init__()
        self.body, self.fork = body, fork

    def forward(self, state: State) -> State:
        out = self.body(state[0])
        return (out, out) if self.fork else (out, *state[1:])


class _Neck(nn.Module):
    """Merge the maps at strides 16 and 8 into (B, CHANNELS, GRID, GRID)."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(coarse, _MERGED, 1, bias=False)
        self.fine = nn.Conv2d(fine, _MERGED, 1, bias=False)
        self.merge = nn.Sequential(
            nn.BatchNorm2d(_MERGED),
            nn.GELU(),
            nn.Conv2d(_MERGED, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.GELU(),
        )

    def forward(self, state: State) -> State:
        coarse, fine = state
        up = F.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        return (self.merge(up + self.fine(fine)),)


class SynthNet(RunningStatistics):
    """The network: a chain of twelve blocks, then centring and scaling.

    The state between two blocks is a tuple of tensors, so the chain can be cut anywhere.

    Args:
        whitened: multiply the centred map (CHANNELS, GRID²) by a matrix on either side,
            ``channels`` and ``places``, where it is otherwise divided by one number, ``std``.
            Pre-training fits them.
    """

    def __init__(self, whitened: bool) -> None:
        super().__init__()
        _torchvision.mend()
        import timm

        net = timm.create_model(BACKBONE, pretrained=False)
        first, second, third = net.blocks[:3]
        self.chain = nn.ModuleDict({"stem": _Step(nn.Sequential(net.conv_stem, net.bn1))})
        for stage, layers in enumerate((first, second, third)):
            for i, layer in enumerate(layers):
                fork = stage == 1 and i == len(layers) - 1
                self.chain[f"stage{stage + 1}_{i + 1}"] = _Step(layer, fork)
        coarse, fine = (info["num_chs"] for info in (net.feature_info[3], net.feature_info[2]))
        self.chain["neck"] = _Neck(coarse, fine)
        # Centred features let a readout or a world model train at once; fitted by pre-training.
        self.register_buffer("mean", torch.zeros(CHANNELS * GRID * GRID))
        self.whitened = whitened
        if whitened:
            self.register_buffer("channels", torch.eye(CHANNELS))
            self.register_buffer("places", torch.eye(GRID * GRID))
        else:
            self.register_buffer("std", torch.ones(()))
        self.to(memory_format=torch.channels_last)
        self.train(self.training)

    def maps(self, image: Tensor) -> Tensor:
        """Map float32 (B, 3, SIZE, SIZE) to uncentred features (B, CHANNELS, GRID, GRID)."""
        state: State = (image.contiguous(memory_format=torch.channels_last),)
        for block in self.chain.values():
            state = block(state)
        return state[0]

    def forward(self, image: Tensor) -> Tensor:
        """Map float32 (B, 3, SIZE, SIZE) to centred features (B, CHANNELS * GRID * GRID)."""
        centred = self.maps(image).flatten(1) - self.mean
        if self.whitened:
            return (self.channels @ centred.unflatten(1, (CHANNELS, -1)) @ self.places).flatten(1)
        return centred / self.std


def transform() -> nn.Module:
    """Return the input transform: any frame in [0, 1] → about unit range at SIZE × SIZE."""
    return Standardize(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def build(
    *,
    weights: Path | None = None,
    image_size: int = SIZE,
    pretrained: bool = True,
    name: str = "synth",
) -> Encoder:
    """Return the encoder.

    Args:
        weights: safetensors to use in place of the shipped ones.
        image_size: size of the frames that come in; they are resized to SIZE.
        pretrained: load weights; without, the network is random and no file is touched.
        name: ``synth`` or ``synth-2``.

    Raises:
        ShiftBenchError: the weights are missing or do not fit.
    """
    net, digest = SynthNet(whitened=name == "synth-2"), ""
    if pretrained:
        if weights:
            _check_own(name, weights)
        digest = loading.load(net, weights or WEIGHTS[name])
    return Encoder(
        name=name,
        module=net,
        features=CHANNELS * GRID * GRID,
        transform=transform(),
        blocks=list(net.chain.items()),
        pretrained=pretrained,
        sha256=digest,
    )


def _check_own(name: str, weights: Path) -> None:
    """Raise ShiftBenchError where the weights are those of the other of the two encoders."""
    tensors = loading.read(weights)
    for other, tensor in _OWN.items():
        if other != name and tensor in tensors and _OWN[name] not in tensors:
            raise ShiftBenchError(
                f"{loading.FLAG} {weights}: weights of '{other}', not '{name}': "
                f"give --encoder {other}"
            )


#: `build` of the encoder with whitened features.
build_2 = partial(build, name="synth-2")
