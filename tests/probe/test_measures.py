"""The numbers of the probes, on features, labels and masks that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench.probe import measures


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_distance_is_as_its_formula_says(rng):
    clean, shifted = rng.normal(size=(2, 7, 5)).astype(np.float32)
    moved = np.mean([np.sum((a - b) ** 2) for a, b in zip(clean, shifted, strict=True)])
    pairs = [np.sum((clean[i] - clean[j]) ** 2) for i in range(7) for j in range(7) if i != j]
    assert measures.distance(clean, shifted) == pytest.approx(np.sqrt(moved / np.mean(pairs)))


def test_the_distance_does_not_depend_on_scale_and_offset(rng):
    clean, shifted = rng.normal(size=(2, 9, 4))
    same = measures.distance(clean, shifted)
    assert measures.distance(3 * clean + 5, 3 * shifted + 5) == pytest.approx(same)


def test_another_state_is_at_distance_one(rng):
    states = rng.normal(size=(4000, 3))
    assert measures.distance(states[:2000], states[2000:]) == pytest.approx(1, abs=0.03)


def test_a_constant_is_invariant_and_tells_nothing(rng):
    constant, positions = np.ones((50, 6), np.float32), rng.normal(size=(50, 2))
    assert measures.distance(constant, constant) == 0
    assert np.isnan(measures.distance(constant, constant + 1))
    readout = measures.Readout(constant, positions)
    assert abs(measures.explained(readout.read(constant), positions)) < 0.05


def test_a_readout_finds_what_is_linear_in_more_features_than_frames(rng):
    hidden = rng.normal(size=(300, 3))
    mixed = (hidden @ rng.normal(size=(3, 900)) + 4).astype(np.float32)
    noise = 0.1 * rng.normal(size=mixed.shape).astype(np.float32)
    readout = measures.Readout((mixed + noise)[:200], hidden[:200])
    assert measures.explained(readout.read(mixed[200:]), hidden[200:]) > 0.99


def test_the_dual_form_is_ridge_regression(rng):
    features = rng.normal(size=(50, 8)).astype(np.float32)
    positions = rng.normal(size=(50, 2))
    readout = measures.Readout(features, positions)
    x = features[:40] - features[:40].mean(0)
    y = (positions[:40] - positions[:40].mean(0)) / positions[:40].std(0)
    penalty = readout.penalty * np.square(x).sum(1).mean()
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(8), x.T @ y)
    wanted = (features - features[:40].mean(0)) @ weights
    wanted = wanted * positions[:40].std(0) + positions[:40].mean(0)
    np.testing.assert_allclose(readout.read(features), wanted, rtol=1e-3, atol=1e-4)


def test_positions_without_a_relation_get_a_large_penalty(rng):
    features = rng.normal(size=(100, 400)).astype(np.float32)
    readout = measures.Readout(features, rng.normal(size=(100, 1)))
    assert readout.penalty >= 1


def test_a_position_that_never_varies_does_not_count(rng):
    true = np.stack([rng.normal(size=20), np.ones(20)], 1)
    assert measures.explained(true, true) == 1
    assert np.isnan(measures.explained(true[:, 1:], true[:, 1:]))


def test_neighbours_know_clusters_and_nothing_of_shuffled_labels(rng):
    labels = np.arange(800) % 4
    features = (np.eye(4)[labels] + 0.3 * rng.normal(size=(800, 4)) + 9).astype(np.float32)
    split = (features[:600], labels[:600], features[600:], labels[600:])
    assert measures.knn_accuracy(*split) > 0.8
    shuffled = measures.knn_accuracy(split[0], rng.permutation(labels[:600]), *split[2:])
    assert shuffled == pytest.approx(0.25, abs=0.1)


def test_shares_sum_up_pixels_in_any_grid(rng):
    mask = rng.random((2, 8, 8)) < 0.5
    np.testing.assert_allclose(
        measures.shares(mask, 4, 2), mask.reshape(2, 4, 2, 2, 4).mean((2, 4))
    )
    assert measures.shares(mask, 3, 5).mean() == pytest.approx(mask.mean())


def test_attention_is_one_for_the_mask_itself_and_chance_for_noise(rng):
    agent = np.zeros((400, 64, 64), bool)
    for mask, (row, column) in zip(agent, rng.integers(0, 40, (400, 2)), strict=True):
        mask[row : row + 20, column : column + 12] = True
    perfect, chance = measures.attention(measures.shares(agent, 8, 8), agent)
    assert perfect == 1
    assert 0.05 < chance < 0.3
    guessed, same = measures.attention(rng.random((400, 8, 8)), agent)
    assert guessed == pytest.approx(chance, abs=0.02)
    assert same == chance
    assert measures.attention(-measures.shares(agent, 8, 8), agent)[0] == 0


def test_frames_without_the_agent_do_not_count(rng):
    agent = np.zeros((3, 16, 16), bool)
    assert np.isnan(measures.attention(rng.random((3, 4, 4)), agent)).all()
    agent[0, :4, :4] = True
    assert measures.attention(measures.shares(agent, 4, 4), agent)[0] == 1
