"""The clustering objective: its terms by hand, and the same on eight devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays, views
from zoo.models import MLP
from zoo.objectives import with_views
from zoo.objectives.clustering import clustering
from zoo.training import build, make_evaluate, parallelize, run

KEY = jax.random.key(0)


class Identity(nn.Module):
  """Its input is its logits."""

  @nn.compact
  def __call__(self, x, *, train):
    return x + self.param('bias', nn.initializers.zeros, (x.shape[-1],))[None]


ZERO = {'bias': jnp.zeros(2)}
CERTAIN = jnp.array([[50.0, 0.0], [0.0, 50.0]])  # one example in each cluster
EVEN = jnp.zeros((2, 2))


def of(first, second=None, **options):
  objective = clustering(Identity(), num_classes=2, **options)
  batch = {'first': {'image': first}, 'second': {'image': first if second is None else second}}
  value, (_, scalars) = objective.loss(ZERO, {}, batch, KEY)
  judged = objective.evaluate(ZERO, {}, batch, KEY).compute()
  assert judged['loss'] == pytest.approx(float(value), abs=1e-5)
  assert judged['mutual_information'] == pytest.approx(
    float(scalars['mutual_information']), abs=1e-5
  )
  return float(value), {k: float(v) for k, v in scalars.items()}


def test_the_terms_by_hand():
  # Certain and of equal size: I = H(Y) = log 2, and copies agree.
  value, scalars = of(CERTAIN, information=0.5, balance=3.0)
  assert scalars['mutual_information'] == pytest.approx(np.log(2), abs=1e-5)
  assert scalars['inconsistency'] == pytest.approx(0, abs=1e-5)
  assert value == pytest.approx(-0.5 * 3 * np.log(2), abs=1e-5)
  # All in one cluster: certain, but it says nothing.
  _, scalars = of(CERTAIN[:1].repeat(2, axis=0))
  assert scalars['mutual_information'] == pytest.approx(0, abs=1e-5)
  # Undecided: H(Y) = H(Y | X) = log 2, whose weights differ.
  value, scalars = of(EVEN, information=0.5, balance=3.0)
  assert scalars['mutual_information'] == pytest.approx(0, abs=1e-5)
  assert value == pytest.approx(-0.5 * (3 - 1) * np.log(2), abs=1e-5)


def test_a_copy_that_is_told_apart_costs_its_divergence():
  first, second = jnp.log(jnp.array([[0.5, 0.5]])), jnp.log(jnp.array([[0.9, 0.1]]))
  _, scalars = of(first, second)
  expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
  assert scalars['inconsistency'] == pytest.approx(expected, abs=1e-5)


def test_the_copy_is_drawn_to_the_original_and_not_the_other_way():
  objective = clustering(Identity(), num_classes=2)

  def inconsistency(first, second):
    batch = {'first': {'image': first}, 'second': {'image': second}}
    return objective.loss(ZERO, {}, batch, KEY)[1][1]['inconsistency']

  of_first, of_second = jax.grad(inconsistency, (0, 1))(EVEN, CERTAIN)
  assert not of_first.any()
  assert of_second.all()


def test_labels_are_not_looked_at():
  objective = clustering(Identity(), num_classes=2)
  part = {'image': CERTAIN, 'label': jnp.array([0, 7])}
  bare = {'image': CERTAIN}
  values = [objective.loss(ZERO, {}, {'first': p, 'second': p}, KEY)[0] for p in (part, bare)]
  assert values[0] == values[1]


def test_padding_counts_nowhere():
  objective = clustering(Identity(), num_classes=2)
  batch = {'image': CERTAIN}
  more = {
    'image': jnp.concatenate([CERTAIN, jnp.array([[3.0, 9.0]])]),
    'weight': jnp.array([1.0, 1.0, 0.0]),
  }
  figures = [
    objective.evaluate(ZERO, {}, {'first': b, 'second': b}, KEY).compute() for b in (batch, more)
  ]
  assert figures[0] == figures[1]


@pytest.mark.slow
def test_jit_pmap_and_sharded_train_and_judge_alike():
  # The entropy of the mean is no mean over devices: each must know the share of the others.
  rng = np.random.default_rng(0)
  x = rng.normal(size=(100, 6)).astype(np.float32)
  states, figures = {}, {}
  double = lambda key, batch: {**batch, 'image': 1.5 * batch['image']}
  for strategy in ('jit', 'pmap', 'sharded'):
    parallel = parallelize(strategy)
    module = MLP(widths=(8,), norm='batch', num_classes=4, axis_name=parallel.axis_name)
    objective = with_views(
      clustering(module, num_classes=4, information=1.0, axis_name=parallel.axis_name),
      views.original_and_copy(double),
    )
    source = arrays.epochs({'image': x}, 32)
    program = build(objective, optax.sgd(0.1), source, parallel, steps_per_call=10)
    state, source_state = program.init(KEY)
    for state, source_state, _ in run(
      program, source, state, source_state, steps=20, steps_per_call=10
    ):
      pass
    judge = make_evaluate(objective, arrays.one_pass({'image': x}, 16), parallel, program.state)
    states[strategy], figures[strategy] = (state.params, state.extras), judge(state)
  for strategy in ('pmap', 'sharded'):
    toy.assert_same(states[strategy], states['jit'], rtol=1e-4)
    assert figures[strategy] == pytest.approx(figures['jit'], rel=1e-4)


def test_bad_options_and_modules_are_named():
  with pytest.raises(ValueError, match='information must be positive'):
    clustering(Identity(), num_classes=2, information=0.0)
  with pytest.raises(ValueError, match='not logits of 3 clusters'):
    objective = clustering(Identity(), num_classes=3)
    objective.loss(ZERO, {}, {'first': {'image': EVEN}, 'second': {'image': EVEN}}, KEY)
