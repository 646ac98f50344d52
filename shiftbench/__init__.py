"""ShiftBench: how much of a visual policy survives when the picture changes."""

__version__ = "0.1.0"
