"""Q-learning: the target network, what weighs, and that every head learns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.toy import assert_same
from zoo.models.qnetwork import QNetwork
from zoo.objectives import dqn
from zoo.training import init_state, make_train_step

KEY = jax.random.key(0)
B, A = 4, 3


def batch(seed: int = 0, **leaves) -> dict[str, Any]:
  rng = np.random.default_rng(seed)
  return {
    's_tm1': rng.normal(size=(B, 2)).astype(np.float32),
    'a_tm1': np.array([0, 2, 1, 2], np.int32),
    'r_t': np.array([1.0, -1.0, 0.5, 2.0], np.float32),
    'discount_t': np.array([0.9, 0.0, 0.9, 0.81], np.float32),
    's_t': rng.normal(size=(B, 2)).astype(np.float32),
    **leaves,
  }


def build(objective_options: Any = (), **options) -> Any:
  module = QNetwork(**{'widths': (4,), 'num_actions': A, **options})
  objective = dqn(module, num_actions=A, **dict(objective_options))
  params, extras = jax.jit(objective.init)(KEY, batch())
  other = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), params)
  return module, objective, params, {**extras, 'target': other}


@pytest.mark.parametrize('double', [False, True])
def test_the_loss_by_hand(double):
  module, objective, params, extras = build({'double': double, 'huber_delta': 0.5})
  q = lambda p, x: np.asarray(module.apply({'params': p}, x, train=False), np.float64)
  b = batch()
  after = q(extras['target'], b['s_t'])
  chosen = (q(params, b['s_t']) if double else after).argmax(-1)
  rows = np.arange(B)
  error = b['r_t'] + b['discount_t'] * after[rows, chosen]
  error -= q(params, b['s_tm1'])[rows, b['a_tm1']]
  size = np.abs(error)
  expected = np.where(size < 0.5, error**2 / 2, 0.5 * (size - 0.25)).mean()
  loss, (_, scalars) = jax.jit(objective.loss)(params, extras, b, KEY)
  assert loss == pytest.approx(expected, rel=1e-5)
  assert scalars['q'] == pytest.approx(q(params, b['s_tm1']).mean(), rel=1e-5, abs=1e-6)


def test_what_weighs_nothing_does_not_count_and_importance_is_relative_to_the_greatest():
  _, objective, params, extras = build()
  loss = jax.jit(lambda b: objective.loss(params, extras, b, KEY)[0])
  each = [float(loss(batch(weight=np.eye(B, dtype=np.float32)[i]))) for i in range(B)]
  assert float(loss(batch())) == pytest.approx(np.mean(each), rel=1e-5)
  weight, counts = np.array([1, 0, 1, 1], np.float32), np.array([2, 1, 4, 1], np.float32)
  expected = np.sum(weight * counts / 4 * each) / 3
  assert float(loss(batch(weight=weight, importance=counts))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(('every', 'rate'), [(3, 1.0), (1, 0.25)])
def test_the_target_moves_on_its_period_alone_and_by_its_rate(every, rate):
  _, objective, params, extras = build({'target_every': every, 'target_rate': rate})
  before = extras['target']
  for step in range(1, 7):
    after = jax.jit(objective.refresh)({'target': before}, params, jnp.int32(step))['target']
    moved = jax.tree.map(lambda p, t: rate * p + (1 - rate) * t, params, before)
    assert_same(after, moved if step % every == 0 else before, rtol=1e-6)


SWITCHES = [
  ({'head': 'c51', 'num_atoms': 5, 'dueling': True}, {}),
  ({'head': 'qr', 'num_quantiles': 4, 'noisy': True}, {'double': False}),
  ({'head': 'iqn', 'num_quantiles': 4, 'noisy': True, 'dueling': True}, {'taus': 3}),
  ({'dueling': True}, {'munchausen': True}),
]


@pytest.mark.parametrize(
  ('model', 'options'),
  [SWITCHES[0], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SWITCHES[1:])],
)
def test_every_head_learns_a_bandit(model, options):
  """Two actions whose returns are 1 and -1 and end at once: their values are found."""
  module = QNetwork(widths=(16,), num_actions=2, v_min=-2, v_max=2, **model)
  objective = dqn(module, num_actions=2, **options)
  rng = np.random.default_rng(0)
  action = np.arange(32) % 2
  b = {
    's_tm1': rng.normal(size=(32, 2)).astype(np.float32),
    'a_tm1': action.astype(np.int32),
    'r_t': np.where(action == 0, 1.0, -1.0).astype(np.float32),
    'discount_t': np.zeros(32, np.float32),
    's_t': rng.normal(size=(32, 2)).astype(np.float32),
  }
  tx = optax.adam(0.03)
  step = make_train_step(objective, tx)

  @jax.jit
  def learn():
    state = init_state(objective, tx, b, KEY)
    state, _ = jax.lax.scan(lambda state, _: step(state, b), state, length=300)
    return objective.predict(state.params, state.extras, b)

  q = learn()
  # What a sure policy would not do costs alpha = 0.9 more: its log probability is clipped at -1.
  other = -1.9 if options.get('munchausen') else -1
  np.testing.assert_allclose(q.mean(0), [1, other], atol=0.15)


def test_bad_options_are_named():
  with pytest.raises(ValueError, match=r'target_rate in \(0, 1\]'):
    build({'target_rate': 0.0})
  with pytest.raises(ValueError, match=r"config\.model\.head must be 'scalar', not 'qr'"):
    build({'munchausen': True}, head='qr')
