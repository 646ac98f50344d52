"""Fine-tuning modes: which blocks of an encoder train, at which learning rate.

An encoder is a list of ordered blocks (`shiftbench.encoders.base.Encoder`). Every mode trains the
last so many of them, so the blocks before `Plan.boundary` form a trunk that never changes: nothing
in it, nor before it, requires a gradient, and autograd records nothing there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import MethodType

from torch import nn

from shiftbench import adapters
from shiftbench.encoders.base import Encoder
from shiftbench.errors import ShiftBenchError, unknown


@dataclass(frozen=True)
class Mode:
    """One way of using an encoder.

    Attributes:
        share: share of the ordered blocks that train, counted from the last, rounded up.
        lr_factor: learning rate of the encoder as a multiple of the world model's.
        rest: whether parameters outside of the blocks (embeddings, stem, final norm) train too.
        pretrained: whether the encoder starts from pre-trained weights.
        doc: what the mode is, in one line.
        rank: of the low-rank adapters that train in place of the blocks' own parameters, 0 where
            these train themselves.
    """

    share: Fraction
    lr_factor: float
    rest: bool
    pretrained: bool
    doc: str
    rank: int = 0


#: arXiv 2509.12531 trains its PVMs at 4e-6 where the rest of the agent has 4e-5, hence the factor
#: of 0.1; its partial mode trains 4 of 12 blocks with embeddings and final norm frozen. `lowlr` is
#: not in the paper: it asks whether a gentler `full` keeps what `partial` keeps, and takes another
#: tenth. `lora` is not in the paper either: adapters of the rank that Hu et al. 2021 (arXiv
#: 2106.09685) give GPT-2; they begin as zero and take ten times the learning rate of `full`, the
#: ratio that Schulman et al. 2025 ("LoRA Without Regret") found.
MODES: dict[str, Mode] = {
    "scratch": Mode(Fraction(1), 1.0, True, False, "all blocks, from random weights"),
    "frozen": Mode(Fraction(0), 0.0, False, True, "nothing trains"),
    "partial": Mode(Fraction(1, 3), 0.1, False, True, "the last third of the blocks trains"),
    "full": Mode(Fraction(1), 0.1, True, True, "everything trains"),
    "lowlr": Mode(Fraction(1), 0.01, True, True, "everything trains, slowly"),
    "lora": Mode(Fraction(1), 1.0, False, True, "low-rank adapters in all blocks train", rank=4),
}


@dataclass(frozen=True)
class Plan:
    """What a mode means for one encoder.

    Attributes:
        mode: a key of `MODES`.
        boundary: index of the first block that trains, the number of blocks where none does. The
            blocks before it, and everything before them, give the same output for the same frame
            for ever.
        trainable: names of the trainable parameters of the encoder's module, in its order. Those
            of adapters exist once `apply` has made them.
        lr_factor: learning rate of these as a multiple of the world model's.
        adapted: names of the layers that get an adapter.
    """

    mode: str
    boundary: int
    trainable: tuple[str, ...]
    lr_factor: float
    adapted: tuple[str, ...] = ()


def plan(encoder: Encoder, mode: str, blocks: int | None = None) -> Plan:
    """Work out which parameters of ``encoder`` train.

    Args:
        encoder: the encoder, which stays as it is.
        mode: a key of `MODES`.
        blocks: how many of the last blocks train, in mode ``partial``; a third by default.

    Raises:
        ShiftBenchError: an unknown mode, a number of blocks for a mode that takes none, more
            blocks than there are, or a partial mode of an encoder without blocks.
    """
    if mode not in MODES:
        raise unknown("fine-tuning mode", mode, MODES)
    chosen, count = MODES[mode], len(encoder.blocks)
    last = math.ceil(chosen.share * count)
    if (0 < chosen.share < 1 or chosen.rank) and not count:
        raise ShiftBenchError(
            f"encoder '{encoder.name}' has no ordered blocks, which mode '{mode}' needs; use"
            " frozen, full or lowlr"
        )
    if blocks is not None:
        if mode != "partial":
            raise ShiftBenchError(f"--finetune-blocks: only for mode 'partial', not '{mode}'")
        if not 1 <= blocks <= count:
            raise ShiftBenchError(
                f"--finetune-blocks {blocks}: encoder '{encoder.name}' has {count} blocks, give 1 "
                f"to {count}"
            )
        last = blocks
    boundary = count - last
    if chosen.rank:
        parts = [block for _, block in encoder.blocks[boundary:]]
        adapted = tuple(name for name, _ in adapters.layers(encoder.module, parts))
        names = tuple(name for layer in adapted for name in adapters.names(layer))
        return Plan(mode, boundary, names, chosen.lr_factor, adapted)
    if chosen.rest:
        return Plan(mode, boundary, tuple(_names(encoder.module)), chosen.lr_factor)
    wanted = {
        id(parameter) for _, block in encoder.blocks[boundary:] for parameter in block.parameters()
    }
    names = tuple(n for n, p in encoder.module.named_parameters() if id(p) in wanted)
    return Plan(mode, boundary, names, chosen.lr_factor)


def apply(encoder: Encoder, plan: Plan) -> None:
    """Mark the trainable parameters, and hold in evaluation mode whatever holds none of them.

    The frozen parts then stay in evaluation mode whoever calls ``train()``, on the encoder or on
    any module around or inside it, so no running statistic and no dropout in them moves. May be
    called again with another plan, unless the first made adapters.

    Raises:
        ValueError: the encoder has adapters.
    """
    if adapters.present(encoder.module):
        raise ValueError(f"encoder '{encoder.name}' has adapters: build it anew")
    adapters.add(encoder.module, plan.adapted, MODES[plan.mode].rank)
    trainable = set(plan.trainable)
    for name, parameter in encoder.module.named_parameters():
        parameter.requires_grad_(name in trainable)
    for module in encoder.module.modules():
        module.__dict__.pop("train", None)
    _hold(encoder.module)


def _names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def _hold(module: nn.Module) -> None:
    """Fix the largest submodules that have parameters, none of them trainable."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        for part in module.modules():
            # An attribute of the instance shadows the method, also for a parent's `train()`.
            part.train = MethodType(_stay, part)
    else:
        for child in module.children():
            _hold(child)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
