"""The replay: what is read, derived by hand from episodes whose frames are numbered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data import priorities, replay
from zoo.data.replay import Layout

FRAME = jax.ShapeDtypeStruct((1,), jnp.float32)


def filled(layout: Layout, frames: int, ends=(), terminal=()):
  """One ring in which frame, action and reward are the time; times of `ends` end an episode."""
  record = lambda t: {
    'frame': jnp.full((1, 1), t, jnp.float32),
    'action': jnp.full((1,), t),
    'reward': jnp.where(dead(t), 0.0, jnp.full((1,), t, jnp.float32)),
    'terminated': jnp.isin(jnp.full((1,), t), np.array(terminal, int)),
    'ended': jnp.isin(jnp.full((1,), t), np.array(ends, int)),
    'dead': jnp.full((1,), dead(t)),
  }
  dead = lambda t: jnp.isin(t - 1, np.array(ends, int))

  @jax.jit
  def fill():
    write = lambda t, held: replay.write(layout, held, t, record(t))
    return jax.lax.fori_loop(0, frames, write, replay.init(layout, 1, FRAME))

  return fill()


def read(layout, held, times):
  times = jnp.array(times)
  return jax.device_get(
    jax.jit(lambda h, t: replay.read(layout, h, jnp.zeros_like(t), t))(held, times)
  )


def test_one_step_bootstraps_through_truncation_and_not_through_termination():
  layout = Layout(8, discount=0.9)
  held = filled(layout, 8, ends=(1, 4), terminal=(4,))
  b = read(layout, held, [0, 1, 2, 3, 4, 5])
  np.testing.assert_array_equal(b['s_tm1'][:, 0], [0, 1, 2, 3, 4, 5])
  np.testing.assert_array_equal(b['s_t'][:, 0], [1, 2, 3, 4, 5, 6])  # 2 and 5: last observations
  np.testing.assert_allclose(b['r_t'], [0, 1, 0, 3, 4, 0])
  np.testing.assert_allclose(b['discount_t'][[0, 1, 3, 4]], [0.9, 0.9, 0.9, 0])
  np.testing.assert_array_equal(b['weight'], [1, 1, 0, 1, 1, 0])


def test_n_steps_stop_at_an_end():
  layout = Layout(16, n_step=3, discount=0.5)
  held = filled(layout, 12, ends=(3, 8), terminal=(8,))
  b = read(layout, held, [0, 1, 2, 3, 5, 6, 7, 8])
  np.testing.assert_array_equal(b['s_t'][:, 0], [3, 4, 4, 4, 8, 9, 9, 9])
  rewards = [0 + 1 / 2 + 2 / 4, 1 + 2 / 2 + 3 / 4, 2 + 3 / 2, 3]
  rewards += [5 + 6 / 2 + 7 / 4, 6 + 7 / 2 + 8 / 4, 7 + 8 / 2, 8]
  np.testing.assert_allclose(b['r_t'], rewards)
  np.testing.assert_allclose(b['discount_t'], [1 / 8, 1 / 8, 1 / 4, 1 / 2, 1 / 8, 0, 0, 0])
  np.testing.assert_array_equal(b['weight'], 1)


@pytest.mark.parametrize(('stack', 'n_step'), [(1, 1), (3, 2)])
def test_a_ring_that_is_full_reads_only_what_it_still_holds(stack, n_step):
  layout = Layout(8, n_step, stack=stack)
  for written in (5, 8, 9, 21):
    first, count = replay.readable(layout, jnp.int32(written))
    assert int(first) == (max(written - 8 + stack - 1, 0))
    assert int(first + count) == written - n_step
    held = filled(layout, written)
    times = np.arange(first, first + count)
    b = read(layout, held, times)
    want = lambda t: np.maximum(t[:, None] + np.arange(1 - stack, 1)[None], 0)
    np.testing.assert_array_equal(b['s_tm1'], want(times))
    np.testing.assert_array_equal(b['s_t'], want(times + n_step))
    np.testing.assert_array_equal(b['a_tm1'], times)


def test_stacks_do_not_reach_into_the_episode_before():
  layout = Layout(16, stack=3)
  held = filled(layout, 12, ends=(3, 6))
  b = read(layout, held, [1, 3, 5, 6, 8, 10])
  stacks = [[0, 0, 1], [1, 2, 3], [0, 0, 5], [0, 5, 6], [0, 0, 8], [8, 9, 10]]
  np.testing.assert_array_equal(b['s_tm1'], stacks)
  after = [[0, 1, 2], [2, 3, 4], [0, 5, 6], [5, 6, 7], [0, 8, 9], [9, 10, 11]]
  np.testing.assert_array_equal(b['s_t'], after)


def test_a_million_screens_take_what_their_bytes_take():
  screen = jax.ShapeDtypeStruct((84, 84, 1), jnp.uint8)
  size = replay.num_bytes(Layout(10**6, stack=4), 1, screen)
  assert size == 10**6 * (84 * 84 + 5 * 4) < 7.5e9


def test_every_transition_is_alike_likely():
  layout = Layout(8, n_step=2)
  draw = jax.jit(lambda bits: replay.draw_uniform(layout, bits, jnp.int32(21), 3))
  lane, time = jax.device_get(draw(jax.random.bits(jax.random.key(0), (12_000,))))
  pairs, counts = np.unique(np.stack([lane, time]), axis=1, return_counts=True)
  assert sorted(map(tuple, pairs.T)) == [(i, t) for i in range(3) for t in range(13, 19)]
  expected = 12_000 / 18
  assert np.sum((counts - expected) ** 2 / expected) < 40.8  # chi-square of 17, p = 0.001


# --- priorities -----------------------------------------------------------------------------------


def tree_of(values):
  values = jnp.array(values, jnp.float32)
  make = lambda v: priorities.update(priorities.init(len(v)), jnp.arange(len(v)), v)
  return jax.jit(make)(values)


def test_a_leaf_is_found_where_the_running_sum_exceeds_the_mass():
  tree = tree_of([0, 2, 0, 1, 0, 0, 4, 0])
  assert float(priorities.total(tree)) == 7
  mass = jnp.array([0, 1.9, 2.0, 2.9, 3, 6.9, 7.5])
  found = jax.jit(priorities.find)(tree, mass)
  np.testing.assert_array_equal(found, [1, 1, 3, 3, 6, 6, 6])


def test_sums_are_those_of_the_leaves_after_many_updates():
  rng = np.random.default_rng(0)
  values = np.zeros(5000, np.float32)
  tree = priorities.init(5000)
  update = jax.jit(priorities.update)
  for _ in range(20):
    index = rng.choice(5000, 64, replace=False)
    values[index] = rng.random(64) * 10.0 ** rng.integers(-6, 6, 64)
    tree = update(tree, index, values[index])
  fresh = tree_of(values)
  for level, again in zip(tree, fresh, strict=True):
    np.testing.assert_array_equal(level, again)  # nothing has drifted
  np.testing.assert_allclose(priorities.total(tree), values.astype(np.float64).sum(), rtol=1e-5)


def check_draws(size: int, draws: int):
  from scipy import stats

  rng = np.random.default_rng(1)
  values = (rng.random(size) * 10.0 ** rng.integers(-3, 3, size)).astype(np.float32)
  values[rng.random(size) < 0.5] = 0
  tree = tree_of(values)

  @jax.jit
  def draw(key):
    mass = jax.random.uniform(key, (draws // 100,)) * priorities.total(tree)
    return priorities.find(tree, mass)

  counts = sum(np.bincount(draw(jax.random.key(i)), minlength=size) for i in range(100))
  assert counts.sum() == draws
  assert counts[values == 0].sum() == 0
  expected = draws * values.astype(np.float64) / values.astype(np.float64).sum()
  # What is expected less than five times goes together.
  often = expected >= 5
  found = np.append(counts[often], counts[~often].sum())
  want = np.append(expected[often], expected[~often].sum())
  assert stats.chisquare(found, want).pvalue > 0.01


def test_chances_are_in_proportion():
  check_draws(300, 20_000)


@pytest.mark.slow
def test_a_million_draws():
  check_draws(10_000, 10**6)


def test_zero_priority_is_never_drawn_at_the_edges_of_sums_that_round():
  """Masses on, just below and just above every running sum, of numbers that do not add exactly."""
  rng = np.random.default_rng(2)
  values = np.where(rng.random(600) < 0.5, 0, rng.random(600) * 1e6).astype(np.float32)
  values[::7] *= 1e-9
  tree = tree_of(values)
  sums = np.cumsum(values, dtype=np.float32)
  edges = np.concatenate([sums, np.nextafter(sums, 0), np.nextafter(sums, np.float32(np.inf))])
  found = jax.jit(priorities.find)(tree, jnp.array(edges.clip(0)))
  assert values[np.asarray(found)].min() > 0
