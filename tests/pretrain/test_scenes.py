"""Random scenes: seeded, varied, and labelled as the renderer sees them."""

import numpy as np
import pytest

from shiftbench import seeding
from shiftbench.pretrain import scenes, shards, textures

COUNT = 24


@pytest.fixture(scope="module")
def shard() -> tuple[np.ndarray, np.ndarray]:
    return shards.render(0, 0, COUNT)


def test_the_same_seed_gives_the_same_shard_and_another_one_does_not(shard):
    again = shards.render(0, 0, COUNT)
    assert all(np.array_equal(a, b) for a, b in zip(shard, again, strict=True))
    for other in (shards.render(0, 1, 4), shards.render(1, 0, 4)):
        assert not np.array_equal(shard[0][:4], other[0])
        assert not np.array_equal(shard[1][:4], other[1][:4])


def test_a_shard_has_two_appearances_of_every_geometry(shard):
    stored, pictures = shard
    assert stored.shape == (COUNT, shards.CHANNELS, shards.SIZE, shards.SIZE)
    assert pictures.shape == (shards.BACKGROUNDS, 3, shards.SIZE, shards.SIZE)
    assert stored.dtype == pictures.dtype == np.uint8
    first, second = stored[:, shards.FIRST].astype(int), stored[:, shards.SECOND].astype(int)
    differing = np.abs(first - second).mean((1, 2, 3))
    assert (differing > 1.0).all()
    # Frames are neither empty nor all alike.
    assert (first.std((1, 2, 3)) > 1.0).mean() > 0.9
    assert len({frame.tobytes() for frame in first}) == COUNT


def test_labels_agree_with_each_other(shard):
    stored, _ = shard
    parts, depth = stored[:, shards.PARTS], stored[:, shards.DEPTH]
    covered = (parts > shards.FLOOR).mean((1, 2))
    assert (covered >= 0.01).all()
    assert (covered <= 0.7).all()
    # Sky has no depth, everything else has one.
    assert np.array_equal(parts == shards.SKY, depth == 0)
    assert len(np.unique(parts)) > 5
    # What the camera looks at is, on the average, about as far away as it thinks.
    objects = depth[parts > shards.FLOOR] / shards.DEPTH_UNIT
    assert 0.7 < np.median(objects) < 1.4
    # The sky is black in both appearances: backgrounds are put in later.
    sky = np.broadcast_to((parts == shards.SKY)[:, None], (COUNT, 6, *parts.shape[1:]))
    assert not stored[:, :6][sky].any()


def test_layouts_are_within_bounds():
    rng = seeding.rng(0)
    layouts = [scenes.layout(rng) for _ in range(300)]
    assert {layout.floor for layout in layouts} == {0.0, 4.0, 20.0}
    assert {part.kind for layout in layouts for part in layout.parts} == {
        scenes.SPHERE,
        scenes.CAPSULE,
        scenes.ELLIPSOID,
        scenes.CYLINDER,
        scenes.BOX,
    }
    for layout in layouts:
        assert 30.0 <= layout.fovy <= 60.0
        assert -90.0 <= layout.elevation <= 3.0
        for part in layout.parts:
            np.testing.assert_allclose(part.rotation @ part.rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(part.rotation) == pytest.approx(1.0)
            assert (part.size >= 0).all()


def test_an_appearance_has_a_surface_for_every_part_and_the_floor():
    look = scenes.appearance(seeding.rng(0), 3, flat_materials=5, solid_materials=4)
    assert len(look.surfaces) == 4
    assert all(s.material == -1 or 5 <= s.material < 9 for s in look.surfaces[:3])
    assert -1 <= look.surfaces[3].material < 5
    assert 1 <= len(look.lights) <= 3


@pytest.mark.parametrize("field", textures.FIELDS)
def test_fields_fill_the_unit_range(field):
    values = [field(seeding.rng(seed), 64) for seed in range(5)]
    for value in values:
        assert value.shape == (64, 64)
        assert 0.0 <= value.min() < value.max() <= 1.0
    assert len({value.tobytes() for value in values}) == 5


@pytest.mark.parametrize("maker", [textures.texture, textures.background])
@pytest.mark.parametrize("size", [32, 64])
def test_images_follow_their_generator(maker, size):
    images = [maker(seeding.rng(seed), size) for seed in (0, 1, 0)]
    assert all(image.shape == (size, size, 3) and image.dtype == np.uint8 for image in images)
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])
