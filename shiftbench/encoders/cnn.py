"""`cnn`, the convolutional encoder that is trained from scratch: DreamerV3's, at a small size."""

from __future__ import annotations

from pathlib import Path

import torch
from torchrl.modules import DreamerV3ImageEncoder

from shiftbench.encoders import loading
from shiftbench.encoders.base import Encoder
from shiftbench.encoders.norms import ChannelRMSNorm
from shiftbench.encoders.transforms import Standardize
from shiftbench.errors import ShiftBenchError

#: Channels of all stages as multiples of the first's. DreamerV3 starts with twice as many, which
#: costs twice the time here; a larger last stage makes up for the parameters.
MULTIPLES = (1, 2, 4, 6)
#: Mean and deviation of red, green and blue over random clean episodes of the ten tasks of suite
#: ``core``. Their frames are dark and even: else the first layers see little but a constant.
MEAN, STD = (0.185, 0.263, 0.343), (0.128, 0.089, 0.078)
#: Modules of one stage: convolution, normalisation, activation.
_STAGE = 3


def build(
    *,
    weights: Path | None = None,
    image_size: int = 64,
    pretrained: bool = False,
    depth: int = 16,
) -> Encoder:
    """Return four stages of stride 2: by default 219 thousand parameters, 1536 features at 64 px.

    Args:
        weights: safetensors file with pre-trained weights.
        image_size: height and width of the frames in pixels.
        pretrained: the caller wants pre-trained weights, of which this encoder has none but those
            in ``weights``.
        depth: channels of the first stage.

    Raises:
        ShiftBenchError: ``pretrained`` without ``weights``, or weights that do not fit.
    """
    net = DreamerV3ImageEncoder(depth=depth, mults=MULTIPLES).to(memory_format=torch.channels_last)
    for i, norm in enumerate(net.layers[1::_STAGE]):
        net.layers[1 + _STAGE * i] = ChannelRMSNorm(len(norm.weight), norm.eps)
    digest = ""
    if pretrained:
        if weights is None:
            raise ShiftBenchError(
                "encoder 'cnn' has no pre-trained weights: it can only be trained from scratch "
                "(agent 'scratch'), or take some with --encoder-weights"
            )
        digest = loading.load(net, weights)
    return Encoder(
        name="cnn",
        module=net,
        features=net.output_features((3, image_size, image_size)),
        transform=Standardize(image_size, MEAN, STD, stored=True),
        blocks=[
            (f"stage{i + 1}", net.layers[_STAGE * i : _STAGE * (i + 1)])
            for i in range(net.num_stages)
        ],
        pretrained=pretrained,
        sha256=digest,
    )
