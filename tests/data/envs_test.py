"""Environments: Gymnasium's dynamics step by step, ends of episodes, and names."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data.environment import advance, play
from zoo.data.envs import make_environment

GOLDEN = np.load(pathlib.Path(__file__).parent.parent / 'golden' / 'control.npz')
KEY = jax.random.key(0)


@pytest.mark.parametrize('name', ['CartPole-v1', 'Acrobot-v1', 'MountainCar-v0'])
def test_every_step_is_that_of_gymnasium(name):
  environment = make_environment(name)
  want = {key.split('/')[1]: GOLDEN[key] for key in GOLDEN.files if key.startswith(name)}

  @jax.jit
  @jax.vmap
  def step(state, action):
    after = environment.step((state, jnp.int32(0)), action, KEY)
    return after._replace(state=after.state[0])

  after = jax.device_get(step(want['state'], want['action']))
  scale = np.abs(want['next']).max(0)
  np.testing.assert_allclose(after.state / scale, want['next'] / scale, atol=3e-6)
  scale = np.abs(want['observation']).max(0)
  np.testing.assert_allclose(after.observation / scale, want['observation'] / scale, atol=3e-6)
  np.testing.assert_array_equal(after.reward, want['reward'])
  np.testing.assert_array_equal(after.terminated, want['terminated'])
  assert 0 < want['terminated'].sum() < len(want['terminated'])
  assert not after.truncated.any()


@pytest.mark.parametrize(
  ('name', 'low', 'high'),
  [('CartPole-v1', [-0.05] * 4, [0.05] * 4), ('MountainCar-v0', [-0.6, 0], [-0.4, 0])],
)
def test_episodes_start_anywhere_in_a_box(name, low, high):
  _, seen = jax.jit(jax.vmap(make_environment(name).reset))(jax.random.split(KEY, 500))
  np.testing.assert_allclose(seen.min(0), low, atol=2e-3)
  np.testing.assert_allclose(seen.max(0), high, atol=2e-3)


def test_a_time_limit_truncates_and_does_not_terminate():
  environment = make_environment('MountainCar-v0')
  episode = jax.jit(lambda: play(environment, lambda x, key: jnp.int32(1), KEY))()
  assert episode.length == 200 and episode.rewards.sum() == -200
  state, _ = environment.reset(KEY)
  step = jax.jit(environment.step)
  for i in range(1, 201):
    after = step(state, jnp.int32(1), KEY)
    state = after.state
    assert bool(after.truncated) == (i == 200) and not after.terminated


def test_catch_rewards_a_paddle_under_the_ball():
  environment = make_environment('Catch')

  def toward(board, key):
    ball = jnp.argmax(board[:-1, :, 0].max(0))
    return jnp.sign(ball - jnp.argmax(board[-1, :, 0])) + 1

  @jax.jit
  @jax.vmap
  def both(key):
    good = play(environment, toward, key)
    away = lambda board, key: jnp.where(board[:-1, 0].any(), 2, 0)
    return good, play(environment, away, key)

  good, bad = both(jax.random.split(KEY, 20))
  np.testing.assert_array_equal(good.rewards.sum(-1), 1)
  np.testing.assert_array_equal(good.length, 9)
  assert set(np.asarray(bad.rewards.sum(-1))) == {-1}
  boards = np.asarray(good.observations)
  assert boards.shape == (20, 10, 10, 5, 1) and boards.dtype == np.uint8
  np.testing.assert_array_equal((boards[:, :9] > 0).sum((2, 3, 4)), 2)
  np.testing.assert_array_equal((boards[:, 9] > 0).sum((1, 2, 3)), 1)  # caught


def test_after_an_end_a_step_starts_anew_and_the_action_does_nothing():
  environment = make_environment('CartPole-v1')
  state, _ = environment.reset(jax.random.key(1))
  go = jax.jit(lambda ended, action: advance(environment, state, ended, action, KEY))
  left, right = (go(True, jnp.int32(a)) for a in (0, 1))
  np.testing.assert_array_equal(left.observation, environment.reset(KEY)[1])
  np.testing.assert_array_equal(left.observation, right.observation)
  assert left.reward == 0 and left.state[1] == 0
  assert go(False, jnp.int32(0)).reward == 1


def test_unknown_names_are_answered_with_the_nearest(monkeypatch):
  with pytest.raises(ValueError, match="unknown environment 'CartPole-v0'; did you mean 'CartPole"):
    make_environment('CartPole-v0')
  monkeypatch.setitem(__import__('sys').modules, 'gymnax', None)
  with pytest.raises(ValueError, match='gymnax:Breakout-MinAtar needs gymnax, which is not inst'):
    make_environment('gymnax:Breakout-MinAtar')


def test_gymnax():
  pytest.importorskip('gymnax')
  with pytest.raises(ValueError, match='gymnax:Pendulum-v1 has continuous actions'):
    make_environment('gymnax:Pendulum-v1')
  with pytest.raises(ValueError, match="gymnax 'CartPole-v2'; did you mean 'CartPole-v1'"):
    make_environment('gymnax:CartPole-v2')
  ours, theirs = make_environment('CartPole-v1'), make_environment('gymnax:CartPole-v1')
  choose = lambda x, key: (x[2] + x[3] > 0).astype(jnp.int32)
  episodes = [jax.jit(lambda e=e: play(e, choose, KEY))() for e in (ours, theirs)]
  assert episodes[0].length == episodes[1].length
  length = int(episodes[0].length) + 1
  np.testing.assert_allclose(*(e.observations[:length] for e in episodes), atol=1e-4)
