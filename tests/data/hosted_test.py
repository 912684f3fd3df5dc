"""Environments of Gymnasium: what a step says of an ending, names, and workers that die."""

import os
import signal
import sys

import numpy as np
import pytest

from zoo.data import envs
from zoo.data.hosted import CrashError, HostEnvironment, episodes_of, of_gymnasium, opened, watch

gymnasium = pytest.importorskip('gymnasium')


def ends_of(vector, action, limit):
  """Steps until the first of the environments is over."""
  for count in range(1, limit):
    after = vector.step(np.array(action, np.int32))
    if after.over.any():
      return count, after
  raise AssertionError('nothing ended')


def test_what_is_cut_off_is_over_and_not_terminated():
  environment = of_gymnasium('MountainCar-v0')
  assert (environment.num_actions, environment.max_steps) == (3, 200)
  vector = environment.make(2, True)
  seen = vector.reset(5)
  assert seen.shape == (2, 2) and seen.dtype == np.float32
  assert (seen[0] != seen[1]).any()
  count, after = ends_of(vector, [1, 1], 300)
  assert count == 200 and after.over.all() and not after.terminated.any()
  again = vector.step(np.array([2, 2], np.int32))  # the action does nothing
  assert not again.over.any() and (again.reward == 0).all()
  assert (again.observation[:, 1] == 0).all() and (again.observation != after.observation).any()
  np.testing.assert_array_equal(vector.reset(5), seen)
  vector.close()


def test_what_terminates_says_so_and_shows_its_last_observation():
  vector = of_gymnasium('CartPole-v1').make(2, True)
  vector.reset(0)
  count, after = ends_of(vector, [0, 1], 30)
  which = np.flatnonzero(after.over)
  np.testing.assert_array_equal(after.terminated, after.over)
  assert count < 15 and (np.abs(after.observation[which, 2]) > 0.2).all()
  assert (after.reward == 1).all() and after.reward.dtype == np.float32


def test_an_episode_is_seen_in_stacks_and_counts_once():
  environment = of_gymnasium('CartPole-v1')._replace(stack=3)
  shown = []

  def choose(seen, time):
    shown.append(seen)
    return np.zeros(len(seen), np.int32)

  with opened(environment, 4) as vector:
    steps = list(episodes_of(environment, vector, choose, 0))
  going = np.array([going for going, _ in steps])
  over = np.array([after.over for _, after in steps])
  assert (going[1:] <= going[:-1]).all() and (going & over).sum() == 4
  assert shown[0].shape == (4, 12) and not shown[0][:, :8].any()
  np.testing.assert_array_equal(shown[2][:, :8], shown[1][:, 4:])


def test_an_episode_is_shown_in_pictures_where_there_are_any():
  pytest.importorskip('pygame')
  left = lambda seen, time: np.zeros(len(seen), np.int32)
  shown = watch(of_gymnasium('CartPole-v1'), left, 0)
  assert shown.dtype == np.uint8 and shown.shape[1:] == (400, 600, 3) and len(shown) < 15
  assert (shown[0] != shown[-1]).any()


def test_names():
  assert isinstance(envs.make_environment('gymnasium:CartPole-v1'), HostEnvironment)
  with pytest.raises(ValueError, match=r"Gymnasium 'CartPol-v1'; did you mean 'CartPole-v1'\?"):
    envs.make_environment('gymnasium:CartPol-v1')
  with pytest.raises(ValueError, match='gymnasium:Pendulum-v1 has no discrete actions'):
    envs.make_environment('gymnasium:Pendulum-v1')
  with pytest.raises(ValueError, match='gymnasium:Blackjack-v1 has observations that are no array'):
    envs.make_environment('gymnasium:Blackjack-v1')
  with pytest.raises(ValueError, match=r'data\.processes is for gymnasium:NAME, not for Catch'):
    envs.make_environment('Catch', processes=True)


def test_what_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'Box2D', None)
  for name in [name for name in sys.modules if name.startswith('gymnasium.envs.box2d')]:
    monkeypatch.delitem(sys.modules, name)
  with pytest.raises(ValueError, match=r"LunarLander-v3 needs .*: pip install 'zoo-jax\[gymnas"):
    envs.make_environment('gymnasium:LunarLander-v3')
  monkeypatch.setitem(sys.modules, 'gymnasium', None)
  with pytest.raises(ValueError, match=r"needs gymnasium, .*: pip install 'zoo-jax\[gymnasium\]'"):
    envs.make_environment('gymnasium:CartPole-v1')


def test_a_failure_while_judging_is_one_line():
  environment = of_gymnasium('CartPole-v1')
  with (
    pytest.raises(CrashError, match='gymnasium:CartPole-v1 failed: '),
    opened(environment, 2) as v,
  ):
    v.reset(0)
    v.step(np.array([7, 0]))


@pytest.mark.slow
def test_a_worker_that_was_killed_is_an_error_and_closing_waits_for_nobody():
  import multiprocessing

  environment = of_gymnasium('CartPole-v1', processes=True)
  vector = environment.make(2, True)
  vector.reset(0)
  here = of_gymnasium('CartPole-v1').make(2, True)
  np.testing.assert_array_equal(vector.reset(3), here.reset(3))
  action = np.array([0, 1], np.int32)
  np.testing.assert_array_equal(vector.step(action).observation, here.step(action).observation)
  os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
  with pytest.raises((EOFError, OSError)):
    vector.step(action)
  vector.close()
  assert not multiprocessing.active_children()


def test_minatar_by_its_own_rules_needs_its_package(monkeypatch):
  monkeypatch.setitem(sys.modules, 'minatar', None)
  with pytest.raises(ValueError, match=r'MinAtar.* pip install .zoo-jax\[minatar\]'):
    of_gymnasium('MinAtar/Breakout-v0')
