"""Augmentation keeps labels with their pixels; objectives reward what they should."""

import numpy as np
import pytest
import torch

from shiftbench.pretrain import shards
from shiftbench.pretrain.batches import Batch, Pool, augment
from shiftbench.pretrain.objectives import Contrast, Dense

SCENES = 6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def stored() -> tuple[torch.Tensor, torch.Tensor]:
    """A square of 16 × 16 object pixels on a floor below a sky, without a renderer."""
    scenes = np.zeros((SCENES, shards.CHANNELS, shards.SIZE, shards.SIZE), np.uint8)
    scenes[:, :6, 32:] = 120
    scenes[:, shards.PARTS, 32:] = shards.FLOOR
    scenes[:, shards.DEPTH, 32:] = 50
    square = np.s_[:, :, 24:40, 20:36]
    scenes[square] = 0
    scenes[:, :6, 24:40, 20:36] = 255
    scenes[:, shards.PARTS, 24:40, 20:36] = 2
    scenes[:, shards.DEPTH, 24:40, 20:36] = 100
    pictures = np.zeros((2 * SCENES, 3, shards.SIZE, shards.SIZE), np.uint8)
    pictures[:, 0] = 255
    return torch.from_numpy(scenes), torch.from_numpy(pictures)


def test_batches_repeat_with_their_generator(stored):
    first, second = augment(*stored, generator()), augment(*stored, generator())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    other = augment(*stored, generator(1))
    assert not torch.equal(first.images, other.images)


def test_views_share_geometry_and_nothing_else(stored):
    batch = augment(*stored, generator())
    half = shards.SIZE // 2
    assert batch.images.shape == (2 * SCENES, 3, shards.SIZE, shards.SIZE)
    for name in ("mask", "edges", "depth", "seen"):
        assert getattr(batch, name).shape == (2 * SCENES, 1, half, half)
    for name in ("mask", "edges", "depth"):
        first, second = getattr(batch, name).chunk(2)
        assert torch.equal(first, second), name
    first, second = batch.images.chunk(2)
    assert ((first - second).abs().mean((1, 2, 3)) > 0.01).all()
    # Scenes were moved in different ways.
    assert len({mask.numpy().tobytes() for mask in batch.mask}) > 2


def test_targets_lie_on_their_pixels(stored):
    batch = augment(*stored, generator())
    assert batch.images.min() >= 0.0
    assert batch.images.max() <= 1.0
    # The square keeps its area, wherever it went, and its outline is one pixel or two wide.
    torch.testing.assert_close(batch.mask.sum((1, 2, 3)), torch.full((2 * SCENES,), 64.0))
    assert ((batch.edges.sum((1, 2, 3)) >= 28) & (batch.edges.sum((1, 2, 3)) <= 68)).all()
    inside = batch.mask == 1.0
    torch.testing.assert_close(batch.depth[inside], torch.ones_like(batch.depth[inside]))
    # Seen everywhere, or hidden on all of the floor.
    assert set(batch.seen[inside].unique().tolist()) == {1.0}
    # The background, red, is above; what is there has no depth.
    top = batch.images[:, :, :12]
    assert (top[:, 0].mean((1, 2)) > top[:, 2].mean((1, 2))).all()
    assert not batch.depth[:, :, :6].any()


def test_a_pool_draws_from_all_of_its_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BACKGROUNDS", 4)
    for index in range(3):
        paths = shards.paths_of(tmp_path, index)
        for path, (rows, channels) in zip(paths, ((5, 8), (4, 3)), strict=True):
            np.save(path, np.full((rows, channels, 2, 2), index, np.uint8))
    pool = Pool(tmp_path, range(3))
    assert pool.scenes == 15
    scenes, pictures = pool.draw(np.random.default_rng(0), 15)
    assert scenes.shape == (15, 8, 2, 2)
    assert pictures.shape == (30, 3, 2, 2)
    assert np.bincount(scenes[:, 0, 0, 0]).tolist() == [5, 5, 5]
    assert set(pictures[:, 0, 0, 0]) == {0, 1, 2}
    few, _ = pool.draw(np.random.default_rng(0), 40)
    assert len(few) == 40


def batch_of(mask: torch.Tensor) -> Batch:
    images = torch.zeros(len(mask), 3, 64, 64)
    return Batch(images, mask, mask, mask, torch.ones_like(mask))


def test_dense_targets_are_read_by_a_linear_layer():
    torch.manual_seed(0)
    objective = Dense(channels=16, scale=4)
    mask = (torch.rand(4, 1, 32, 32) > 0.5).float()
    # Features that hold the target of each cell: the best that an encoder can do.
    maps = torch.nn.functional.pixel_unshuffle(mask, 4)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
    losses = []
    for _ in range(150):
        parts = objective(maps, batch_of(mask), generator())
        losses.append({name: float(value.detach()) for name, value in parts.items()})
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    assert set(losses[0]) == {"mask", "edges", "depth"}
    assert all(losses[-1][name] < 0.1 * losses[0][name] for name in losses[0])


def test_hidden_surfaces_do_not_count_for_depth():
    objective = Dense(channels=8, scale=4)
    mask = torch.ones(2, 1, 32, 32)
    batch = batch_of(mask)._replace(seen=torch.zeros_like(mask))
    with torch.no_grad():
        losses = objective(torch.randn(2, 8, 8, 8), batch, generator())
    assert float(losses["depth"]) == 0.0


def test_contrast_is_small_only_where_views_of_one_scene_agree():
    torch.manual_seed(0)
    objective = Contrast(channels=8)
    one, other = torch.randn(2, 16, 8, 8, 8)
    batch = batch_of(torch.zeros(32, 1, 32, 32))

    def loss(first: torch.Tensor, second: torch.Tensor) -> float:
        return float(objective(torch.cat([first, second]), batch, generator())["contrast"].detach())

    assert loss(one, one) < 0.5 * loss(one, other)
    assert loss(one, one.roll(1, 0)) > loss(one, other)
