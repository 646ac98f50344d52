"""The hyper-parameters of `dreamer`, and its sizes.

"The paper" is Hafner et al. 2023, "Mastering Diverse Domains through World Models", arXiv
2301.04104; ``docs/dreamer.md`` has the reason of each number that differs.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from shiftbench.errors import unknown


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of `dreamer`; one set for every task and agent.

    Steps are agent steps unless the name says otherwise.
    """

    belief: int = 256
    hidden: int = 128
    categoricals: int = 32  # the paper's
    classes: int = 32
    posterior_gain: float = 10.0
    feature_dropout: float = 0.25
    blocks: int = 8
    units: int = 128
    layers: int = 2
    encoder_depth: int = 16
    decoder_channels: tuple[int, int, int] = (48, 32, 32)
    unimix: float = 0.01  # the paper's
    free_nats: float = 1.0  # the paper's
    first_image_weight: float = 30.0
    image_weight: float = 0.3
    image_weight_updates: tuple[int, int] = (250, 500)  # from the one to the other
    dynamics_weight: float = 1.0  # the paper's
    representation_weight: float = 0.1  # the paper's
    batch: int = 8
    length: int = 16
    imagination: int = 15  # the paper's; at most
    imagination_env_steps: int = 64
    horizon_env_steps: float = 200.0  # of the first Dreamer: 100 agent steps at a repeat of 2
    lmbda: float = 0.95  # the paper's
    entropy: float = 3e-3
    return_floor: float = 5.0  # of 200: over the horizon, a reward of 1 an environment step
    slow_rate: float = 0.1
    replay_value_weight: float = 0.3  # of published code
    return_rate: float = 0.01  # the paper's
    first_min_std: float = 1.0
    min_std: float = 0.1  # the paper's
    min_std_updates: int = 6250  # from the one to the other; after 50,000 environment steps
    max_std: float = 2.0  # of actions that environments cut to [-1, 1]
    bins: int = 127
    bin_limit: float = 8.0
    learning_rate: float = 1e-3
    actor_learning_rate: float = 2e-4
    warmup: int = 100
    update_env_steps: int = 8  # so that 100,000 of them cost the same at any action repeat
    catch_up: int = 2  # updates in place of one, until there are as many as without a prefill
    noise_color: float = 1.0  # pink
    prefill_std: float = 2.0
    prefill_env_steps: int = 10_000
    replay_capacity: int = 200_000
    precision: str = "float32"  # of layers in updates, one of `PRECISIONS`


#: What updates may compute in: all in the first, or the networks' layers up to their logits in the
#: second (torch's autocast).
PRECISIONS = ("float32", "bfloat16")

#: What a size of the agent changes, in the manner of the paper's table of model sizes; the first is
#: `Config` as it stands. ``docs/dreamer.md`` has the numbers of parameters.
SIZES: dict[str, dict[str, Any]] = {
    "xs": {},
    "s": {
        "belief": 512, "hidden": 192, "units": 192,
        "encoder_depth": 20, "decoder_channels": (60, 40, 40),
    },
    "m": {
        "belief": 1024, "hidden": 320, "units": 320,
        "encoder_depth": 32, "decoder_channels": (96, 64, 64),
    },
    "l": {
        "belief": 1536, "hidden": 512, "units": 512,
        "encoder_depth": 48, "decoder_channels": (144, 96, 96),
    },
}  # fmt: skip


def configured(options: dict[str, Any]) -> Config:
    """Return the hyper-parameters of an agent.

    Args:
        options: those of its spec: ``size``, a key of `SIZES`, and fields of `Config` in place of
            what the size says; others are not looked at.

    Raises:
        ShiftBenchError: an unknown size.
    """
    size = options.get("size", next(iter(SIZES)))
    if size not in SIZES:
        raise unknown("size", size, SIZES, "--size")
    own = {key: value for key, value in options.items() if key in Config.__struct_fields__}
    return msgspec.convert({**SIZES[size], **own}, Config)
