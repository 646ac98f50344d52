"""Batch normalisation that does not move."""

from __future__ import annotations

from typing import Self

from torch import nn


class RunningStatistics(nn.Module):
    """A module whose batch normalisation uses its running statistics, in training mode too.

    A policy's frames are strongly correlated, acting sees one frame at a time, and the frames of
    one task are no sample of what the statistics were fitted on. So a frame gives the same features
    alone, in a batch, while learning and in evaluation, in every fine-tuning mode.

    Attributes:
        learn_statistics: True while pre-training, which fits the statistics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.learn_statistics = False

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but normalisation."""
        super().train(mode)
        if not self.learn_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self
