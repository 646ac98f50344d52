"""How the model-based agent acts: its latents, and the policy that is scored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shiftbench.agents.networks import ActingModel, mode_one_hot


class Latent:
    """The recurrent state of N environments that run side by side."""

    def __init__(self, model: ActingModel, count: int) -> None:
        config, device = model.config, next(model.parameters()).device
        self.state = torch.zeros(count, config.categoricals * config.classes, device=device)
        self.belief = torch.zeros(count, config.belief, device=device)
        self.action = torch.zeros(count, model.action_dim, device=device)

    def clear(self, mask: Tensor) -> None:
        """Forget the environments where ``mask`` (bool (N,)) is True."""
        for value in (self.state, self.belief, self.action):
            value[mask] = 0.0


class DreamerPolicy:
    """The deterministic policy: the posterior's and the actor's mode, nothing sampled."""

    def __init__(self, model: ActingModel) -> None:
        self._model = model.eval()
        self._latent = Latent(model, 0)

    def reset(self, mask: np.ndarray) -> None:
        if len(mask) != len(self._latent.state):
            self._latent = Latent(self._model, len(mask))
        self._latent.clear(torch.from_numpy(np.asarray(mask, dtype=bool)))

    @torch.no_grad()
    def act(self, pixels: np.ndarray) -> np.ndarray:
        model, latent = self._model, self._latent
        frames = torch.from_numpy(np.ascontiguousarray(pixels)).to(latent.belief.device)
        latent.belief = model.advance(latent.state, latent.belief, latent.action)
        logits = model.posterior_logits(latent.belief, model.encode(frames))
        latent.state = mode_one_hot(logits)
        features = torch.cat([latent.state, latent.belief], -1)
        latent.action = model.action_distribution(features)[0]
        return latent.action.cpu().numpy()
