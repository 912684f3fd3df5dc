"""Games of Atari: frames, endings, protocols; rewards are clipped to learn, and not to judge."""

import sys

import jax
import numpy as np
import pytest

from zoo.data import envs
from zoo.data.atari import Atari, of_atari
from zoo.data.interactive import load_environment
from zoo.models.qnetwork import QNetwork
from zoo.objectives import values

pytest.importorskip('ale_py', reason="ale-py is not installed: pip install 'zoo-jax[atari]'")


def played(environment, seed, steps, learning=True, count=2):
  """Steps with actions that are drawn, and the first frames."""
  vector, rng = environment.make(count, learning), np.random.default_rng(0)
  first = vector.reset(seed)
  draw = lambda: rng.integers(0, environment.num_actions, count).astype(np.int32)
  return first, [vector.step(draw()) for _ in range(steps)]


def test_frames_are_single_grey_and_determined_by_the_seed():
  environment = of_atari('Pong', Atari(sticky=0.25))
  assert environment.name == 'atari:pong' and environment.num_actions == 6
  first, steps = played(environment, 1, 40)
  assert first.shape == (2, 84, 84, 1) and first.dtype == np.uint8
  assert steps[-1].observation.shape == first.shape and steps[0].reward.dtype == np.float32
  again, same = played(environment, 1, 40)
  other = played(environment, 9, 40)[1]
  np.testing.assert_array_equal(first, again)
  frames = lambda steps: np.stack([after.observation for after in steps])
  np.testing.assert_array_equal(frames(steps), frames(same))
  assert (frames(steps) != frames(other)).any()
  assert len(np.unique(frames(steps)[:, 0], axis=0)) > 30  # what was given stays as it was


@pytest.mark.slow
def test_a_game_is_cut_off_after_so_many_frames():
  environment = of_atari('pong', Atari(max_frames=80, noop_max=0))
  over = np.array([after.over for after in played(environment, 0, 43)[1]])
  assert list(np.flatnonzero(over[:, 0])) == [19, 40]  # every 20 steps, and one that starts anew
  assert not any(after.terminated.any() for after in played(environment, 0, 43)[1])
  assert environment.max_steps == 20


@pytest.mark.slow
def test_a_lost_life_is_an_end_only_where_it_is_to_be_learnt_from():
  environment = of_atari('Breakout', Atari(episodic_life=True))
  _, steps = played(environment, 0, 800, count=4)
  ends = np.array([(after.terminated, after.over) for after in steps])
  lost, over = ends[:, 0] & ~ends[:, 1], ends[:, 1]
  assert 2 * over.sum() < lost.sum() <= 4 * (over.sum() + 4)  # of five lives the last ends the game
  for learning, options in ((False, {'episodic_life': True}), (True, {})):
    _, steps = played(of_atari('Breakout', Atari(**options)), 0, 800, learning, count=4)
    assert all((after.terminated == after.over).all() for after in steps)


@pytest.mark.slow
def test_rewards_are_clipped_to_learn_from_and_not_to_judge_by():
  options = {'num_envs': 2, 'batch_size': 4, 'learn_every': 2, 'replay_size': 600, 'warmup': 400}
  data = load_environment(
    *['atari:SpaceInvaders'],
    validation=2,
    test=0,
    stack=4,
    clip_rewards=True,
    max_frames=2000,
    eval_epsilon=1.0,
    **options,
  )
  module = QNetwork(num_actions=data.given['num_actions'], torso='nature', widths=(8,))
  data = data.bind(values(module))
  spec = data.train.spec['s_t']
  assert spec.shape == (4, 84, 84, 4) and spec.dtype == np.uint8
  x = jax.numpy.zeros(spec.shape, spec.dtype)
  params = module.init(jax.random.key(0), x, train=False)['params']
  state, batch = data.train.next(data.train.init(jax.random.key(0)), params, ())
  assert state['replay']['frame'].shape == (2, 300, 84, 84, 1)
  assert set(np.unique(state['replay']['fact'][..., 1])) == {0, 1}
  assert batch['s_tm1'].any(axis=(0, 1, 2)).all()  # all four frames
  source = data.evaluation['validation']
  _, judged = source.next(source.init(jax.random.key(0)), params, ())
  assert (judged['return'] >= 10).any() and (judged['return'] % 5 == 0).all()
  assert (judged['length'] <= 500).all()


def test_protocols_and_names():
  assert of_atari('pong', Atari(full_action_space=True)).num_actions == 18
  assert envs.make_environment('ALE/MsPacman-v5').name == 'atari:ms_pacman'
  assert envs.make_environment('atari:TicTacToe3D').name == 'atari:tic_tac_toe_3d'
  with pytest.raises(ValueError, match=r"game of Atari 'Breakou'; did you mean 'breakout'\?"):
    envs.make_environment('atari:Breakou')
  with pytest.raises(ValueError, match=r'data\.sticky must be in \[0, 1\), not 1\.5'):
    of_atari('pong', Atari(sticky=1.5))
  with pytest.raises(ValueError, match=r'data\.frame_skip must be at least 1, not 0'):
    of_atari('pong', Atari(frame_skip=0))
  with pytest.raises(ValueError, match=r'data\.sticky is for games of Atari .*, not for Catch'):
    envs.make_environment('Catch', atari=Atari(sticky=0.25))


def test_the_extra_that_brings_the_games_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ale_py', None)
  with pytest.raises(ValueError, match=r"needs ale-py, .*: pip install 'zoo-jax\[atari\]'"):
    envs.make_environment('atari:Pong')
