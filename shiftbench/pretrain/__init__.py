"""How `synth-2` is made: random scenes, drawn twice, and what the network learns from them."""

from shiftbench.pretrain.train import run

__all__ = ["run"]
