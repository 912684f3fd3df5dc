"""make_optimizer against optax's own optimisers, and what it adds to them."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from zoo import paths
from zoo.optim import (
  OPTIMIZERS,
  learning_rate,
  make_optimizer,
  scheduled_learning_rate,
  set_learning_rate,
)

SHAPES = {
  'Conv_0': {'kernel': (3, 3, 2, 4), 'bias': (4,)},
  'Norm_0': {'scale': (4,), 'bias': (4,)},
  'Dense_0': {'kernel': (4, 5), 'bias': (5,)},
  'Embed_0': {'embedding': (6, 4)},
}


def random_tree(seed) -> Any:
  leaves, treedef = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
  rng = np.random.default_rng(seed)
  return treedef.unflatten([jnp.asarray(rng.normal(size=s), jnp.float32) for s in leaves])


PARAMS = random_tree(0)
GRADS = [random_tree(i) for i in range(1, 7)]


def run(tx, grads=GRADS, params=PARAMS, state=None) -> tuple[Any, Any]:
  """Returns parameters and state after one update per gradient."""
  state = tx.init(params) if state is None else state
  update = jax.jit(tx.update)
  for grad in grads:
    updates, state = update(grad, state, params)
    params = optax.apply_updates(params, updates)
  return params, state


def first_update(tx, grad, params) -> Any:
  return jax.jit(lambda g, p: tx.update(g, tx.init(p), p)[0])(grad, params)


STOCK = [
  ('sgd', {}, lambda lr, wd, mask: optax.sgd(lr)),
  ('sgd', {'momentum': 0.9}, lambda lr, wd, mask: optax.sgd(lr, 0.9)),
  (
    'sgd',
    {'momentum': 0.9, 'nesterov': True},
    lambda lr, wd, mask: optax.sgd(lr, 0.9, nesterov=True),
  ),
  ('adam', {'b1': 0.8, 'eps': 1e-4}, lambda lr, wd, mask: optax.adam(lr, 0.8, eps=1e-4)),
  ('adam', {'nesterov': True}, lambda lr, wd, mask: optax.nadam(lr)),
  (
    'adamw',
    {'b2': 0.95, 'weight_decay': 0.1},
    lambda lr, wd, mask: optax.adamw(lr, b2=0.95, weight_decay=wd, mask=mask),
  ),
  ('adagrad', {}, lambda lr, wd, mask: optax.adagrad(lr)),
  ('rmsprop', {}, lambda lr, wd, mask: optax.rmsprop(lr)),
  (
    'rmsprop',
    {'b2': 0.99, 'momentum': 0.9, 'nesterov': True},
    lambda lr, wd, mask: optax.rmsprop(lr, 0.99, momentum=0.9, nesterov=True),
  ),
  (
    'rmsprop',
    {'centered': True, 'b2': 0.95, 'eps': 0.01},
    lambda lr, wd, mask: optax.rmsprop(lr, 0.95, 0.01, centered=True),
  ),
  (
    'lamb',
    {'weight_decay': 0.1},
    lambda lr, wd, mask: optax.lamb(lr, weight_decay=wd, mask=mask),
  ),
  (
    'lion',
    {'weight_decay': 0.1},
    lambda lr, wd, mask: optax.lion(lr, weight_decay=wd, mask=mask),
  ),
]


@pytest.mark.parametrize(('name', 'options', 'stock'), STOCK)
def test_equals_the_stock_optimizer(name, options, stock):
  got, _ = run(make_optimizer(name, learning_rate=0.05, **options))
  want, _ = run(stock(0.05, 0.1, paths.weight_mask))
  chex.assert_trees_all_close(got, want, rtol=2e-5, atol=1e-6)


def test_muon_equals_the_stock_one_on_matrices_and_adam_elsewhere():
  got, state = run(make_optimizer('muon', learning_rate=0.05, weight_decay=0.1))
  matrices = {'Dense_0': PARAMS['Dense_0']}
  stock = optax.contrib.muon(
    0.05, weight_decay=0.1, weight_decay_mask=paths.weight_mask, consistent_rms=0.2
  )
  want, _ = run(stock, [{'Dense_0': g['Dense_0']} for g in GRADS], matrices)
  chex.assert_trees_all_close({'Dense_0': got['Dense_0']}, want, rtol=1e-4, atol=1e-5)

  rest = {key: PARAMS[key] for key in ('Norm_0', 'Embed_0')}
  adam = optax.adamw(0.05, weight_decay=0.1, mask=paths.weight_mask, nesterov=True)
  want, _ = run(adam, [{key: g[key] for key in rest} for g in GRADS], rest)
  chex.assert_trees_all_close({key: got[key] for key in rest}, want, rtol=2e-5, atol=1e-6)

  # One moment for what Muon moves, two for what Adam does.
  elements = {path: leaf.size for path, leaf in paths.named_leaves(PARAMS)}
  moved = elements['Conv_0/kernel'] + elements['Dense_0/kernel']
  floats = [x.size for x in jax.tree.leaves(state) if x.dtype == jnp.float32 and x.ndim]
  assert sum(floats) == 2 * sum(elements.values()) - moved + 3  # and its three coefficients


def test_muon_moves_a_convolution_as_the_matrix_from_its_window_to_its_channels():
  tx = make_optimizer('muon', learning_rate=1.0)
  updates = first_update(tx, GRADS[0], PARAMS)
  u = np.asarray(updates['Conv_0']['kernel']).reshape(18, 4)
  # Nearly orthogonal columns, whose length is 0.2 sqrt(max(fan in, fan out)).
  singular = np.linalg.svd(u / (0.2 * np.sqrt(18)), compute_uv=False)
  assert (singular > 0.5).all() and (singular < 1.5).all()


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_state_is_made_under_jit_and_donated(name):
  tx = make_optimizer(name, accumulate=2, clip_norm=1.0, freeze=('Embed_0/.*',), weight_decay=0.1)
  params, state = jax.jit(lambda p: (jax.tree.map(jnp.copy, p), tx.init(p)))(PARAMS)
  chex.assert_trees_all_equal_shapes_and_dtypes(state, jax.eval_shape(tx.init, PARAMS))
  step = jax.jit(chex.assert_max_traces(step_of(tx), n=1), donate_argnums=(0, 1))
  chex.clear_trace_counter()
  for grad in GRADS[:4]:
    params, state = step(params, state, grad)
  chex.assert_tree_all_finite(params)


def step_of(tx):
  def step(params, state, grad):
    updates, state = tx.update(grad, state, params)
    return optax.apply_updates(params, updates), state

  return step


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_weight_decay_is_decoupled_and_spares_biases_and_scales(name):
  zero = jax.tree.map(jnp.zeros_like, PARAMS)
  tx = make_optimizer(name, learning_rate=0.1, weight_decay=0.5)
  updates = first_update(tx, zero, PARAMS)
  for (path, update), param in zip(
    paths.named_leaves(updates), jax.tree.leaves(PARAMS), strict=True
  ):
    decays = path in ('Conv_0/kernel', 'Dense_0/kernel', 'Embed_0/embedding')
    # With lamb's ratio the length of the update is that of the parameter, times the rate.
    want = (-0.1 if name == 'lamb' else -0.05) * param * decays
    np.testing.assert_allclose(update, want, rtol=1e-5, atol=1e-7)


# --- the learning rate


WHOLE: dict[str, Any] = {
  'name': 'adamw',
  'schedule': 'cosine',
  'total_steps': 12,
  'warmup_steps': 2,
  'clip_norm': 1.0,
  'accumulate': 2,
  'weight_decay': 0.1,
  'freeze': ('Conv_0/.*',),
  'groups': (('Dense_0/.*', {'learning_rate_multiplier': 0.1}),),
}


@pytest.mark.parametrize('options', [{'name': 'sgd'}, WHOLE])
def test_the_learning_rate_changes_without_compiling_again(options):
  chex.clear_trace_counter()
  tx = make_optimizer(learning_rate=0.1, **options)
  other = make_optimizer(learning_rate=0.02, **options)
  step = jax.jit(chex.assert_max_traces(step_of(tx), n=1))
  params, state = PARAMS, jax.jit(tx.init)(PARAMS)
  for grad in GRADS[:2]:
    params, state = step(params, state, grad)
  np.testing.assert_allclose(learning_rate(state), 0.1, rtol=1e-6)
  want, _ = run(other, GRADS[2:], params, set_learning_rate(state, 0.02))
  state = set_learning_rate(state, 0.02)
  for grad in GRADS[2:]:
    params, state = step(params, state, grad)
  np.testing.assert_allclose(learning_rate(state), 0.02, rtol=1e-6)
  chex.assert_trees_all_close(params, want, rtol=1e-6)


@pytest.mark.parametrize('options', [{'name': 'sgd', 'momentum': 0.9}, WHOLE])
def test_a_vmapped_sweep_of_learning_rates_equals_separate_runs(options):
  rates = jnp.array([0.3, 0.01])
  tx = make_optimizer(**options)
  broadcast = lambda x: jnp.broadcast_to(x, (2, *x.shape))
  params, state = jax.tree.map(broadcast, (PARAMS, tx.init(PARAMS)))
  state = set_learning_rate(state, rates)
  step = jax.jit(jax.vmap(step_of(tx), in_axes=(0, 0, None)))
  for grad in GRADS:
    params, state = step(params, state, grad)
  np.testing.assert_array_equal(learning_rate(state), rates)
  for i, rate in enumerate(rates.tolist()):
    want, _ = run(make_optimizer(**options, learning_rate=rate))
    member = jax.tree.map(lambda x, i=i: x[i], params)
    chex.assert_trees_all_close(member, want, rtol=1e-5, atol=1e-6)


def test_the_schedule_multiplies_the_learning_rate():
  tx = make_optimizer('sgd', learning_rate=2.0, schedule='linear', total_steps=4)
  grad = {'w': jnp.ones(())}
  params, _ = run(tx, [grad] * 4, {'w': jnp.zeros(())})
  np.testing.assert_allclose(params['w'], -2 * (1 + 0.75 + 0.5 + 0.25), rtol=1e-6)


# --- clipping, accumulation


def test_clips_by_the_norm_over_all_groups():
  params = {'a': jnp.zeros(2), 'b': jnp.zeros(1)}
  grad = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([4.0])}  # norm 5
  groups = (('b', {'learning_rate_multiplier': 10.0}),)
  tx = make_optimizer('sgd', learning_rate=1.0, clip_norm=1.0, groups=groups)
  updates = first_update(tx, grad, params)
  np.testing.assert_allclose(updates['a'], [-0.6, 0], rtol=1e-6)
  np.testing.assert_allclose(updates['b'], [-8.0], rtol=1e-6)
  # What is frozen has no gradient, and no part in the norm.
  tx = make_optimizer('sgd', learning_rate=1.0, clip_norm=1.0, freeze=('b',))
  updates = first_update(tx, grad, params)
  np.testing.assert_allclose(updates['a'], [-1, 0], rtol=1e-6)


def test_clips_values_before_the_norm():
  params = {'a': jnp.zeros(2)}
  tx = make_optimizer('sgd', learning_rate=1.0, clip_value=3.0, clip_norm=2.5)
  updates = first_update(tx, {'a': jnp.array([3.0, -40.0])}, params)
  np.testing.assert_allclose(updates['a'], np.array([-3, 3]) * 2.5 / np.sqrt(18), rtol=1e-6)


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
def test_accumulation_is_one_update_with_the_mean_gradient(name):
  options: dict[str, Any] = {'learning_rate': 0.05, 'clip_norm': 2.0, 'weight_decay': 0.1}
  got, _ = run(make_optimizer(name, accumulate=3, **options))
  means = [
    jax.tree.map(lambda *g: sum(g) / 3, *GRADS[:3]),
    jax.tree.map(lambda *g: sum(g) / 3, *GRADS[3:]),
  ]
  want, _ = run(make_optimizer(name, **options), means)
  chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)


def test_accumulation_counts_the_schedule_in_training_steps():
  step: dict[str, Any] = {'schedule': 'step', 'boundaries': (4,), 'decay_factor': 0.5}
  tx = make_optimizer('sgd', learning_rate=1.0, accumulate=2, **step)
  params: Any = {'w': jnp.zeros(())}
  grad: Any = {'w': jnp.ones(())}
  state, got, update = tx.init(params), [], jax.jit(tx.update)
  for _ in range(8):
    updates, state = update(grad, state, params)
    got.append(float(updates['w']))
  # Updates in steps 1, 3, 5 and 7, counted from 0; the rate falls at step 4.
  np.testing.assert_allclose(got, [0, -1, 0, -1, 0, -0.5, 0, -0.5])
  assert scheduled_learning_rate(state) == 0.5


# --- freezing, groups


def test_what_is_frozen_does_not_move_and_has_no_moments():
  tx = make_optimizer('adamw', weight_decay=0.1, accumulate=2, freeze=('Conv_0/.*', '.*/bias'))
  params, state = run(tx)
  trained = {'Norm_0/scale', 'Dense_0/kernel', 'Embed_0/embedding'}
  for (path, new), old in zip(paths.named_leaves(params), jax.tree.leaves(PARAMS), strict=True):
    assert (path in trained) != bool((new == old).all()), path
  sizes = [leaf.size for path, leaf in paths.named_leaves(PARAMS) if path in trained]
  # Two moments and the accumulated gradient of what is trained, and nothing of the rest.
  assert sum(x.size for x in jax.tree.leaves(state) if x.ndim) == 3 * sum(sizes)


def test_a_group_has_its_own_optimizer_and_the_rest_keeps_its_own():
  groups = (
    ('Dense_0/kernel', {'name': 'sgd', 'momentum': 0.9, 'weight_decay': 0.2}),
    ('Dense_0/.*', {'learning_rate_multiplier': 0.0}),
    ('Norm_0/.*', {'b1': 0.5}),
  )
  got, _ = run(make_optimizer('adamw', learning_rate=0.05, b2=0.9, weight_decay=0.1, groups=groups))
  sgd, _ = run(make_optimizer('sgd', learning_rate=0.05, momentum=0.9, weight_decay=0.2))
  adamw, _ = run(make_optimizer('adamw', learning_rate=0.05, b2=0.9, weight_decay=0.1))
  norm, _ = run(make_optimizer('adamw', learning_rate=0.05, b1=0.5, b2=0.9))
  want = adamw | {
    'Norm_0': norm['Norm_0'],
    'Dense_0': {'kernel': sgd['Dense_0']['kernel'], 'bias': PARAMS['Dense_0']['bias']},
  }
  chex.assert_trees_all_close(got, want, rtol=1e-6)


def test_a_config_section_carries_every_argument():
  section: Any = ml_collections.ConfigDict(WHOLE | {'learning_rate': 0.1})
  got, _ = run(make_optimizer(**section))
  want, _ = run(make_optimizer(**WHOLE, learning_rate=0.1))
  chex.assert_trees_all_equal(got, want)


def test_optax_finds_the_parameters_in_the_state():
  tx = make_optimizer(**WHOLE)
  state = tx.init(PARAMS)
  marked = optax.tree_map_params(tx, lambda x: x + 1, state)
  changed = [
    not bool((a == b).all()) for a, b in zip(*map(jax.tree.leaves, (state, marked)), strict=True)
  ]
  assert sum(changed) == sum(x.ndim > 0 for x in jax.tree.leaves(state))


# --- bad input


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'name': 'adamm'}, r"unknown optimizer 'adamm'; did you mean 'adamw?'\? there are: adagrad, "),
    ({'schedule': 'cosin'}, "unknown schedule 'cosin'; did you mean 'cosine'"),
    ({'learning_rate': -0.1}, r'learning_rate must be a number in \[0, inf\), got -0.1'),
    ({'learning_rate': float('nan')}, r'learning_rate must be a number in \[0, inf\), got nan'),
    ({'accumulate': 0}, 'accumulate must be >= 1, got 0'),
    ({'b1': 1.0}, r'b1 must be a number in \[0, 1\), got 1.0'),
    ({'eps': -1e-8}, r'eps must be a number in \[0, inf\), got -1e-08'),
    ({'weight_decay': -1.0}, r'weight_decay must be a number in \[0, inf\), got -1.0'),
    ({'clip_norm': -1.0}, r'clip_norm must be a number in \[0, inf\), got -1.0'),
    ({'name': 'sgd', 'b1': 0.9}, "optimizer 'sgd' takes no 'b1'; it takes momentum, nesterov"),
    ({'name': 'sgd', 'nesterov': True}, 'nesterov needs a momentum > 0'),
    ({'freeze': 'Conv_0/.*'}, "freeze must be a tuple of patterns, got the string 'Conv_0/"),
    ({'groups': (('.*', {'name': 'lamp'}),)}, "unknown optimizer 'lamp'; did you mean 'lamb'"),
    ({'groups': (('.*', {'beta': 0.9}),)}, "optimizer 'adamw' takes no 'beta'; it takes b1, "),
    ({'groups': (('.*', {'b1': '0.9'}),)}, r"b1 must be a number in \[0, 1\), got '0.9'"),
    ({'freeze': ('Conv_1/.*',)}, r"freeze pattern 'Conv_1/\.\*' matches no .* 'Conv_0/"),
    ({'groups': (('Dens_0/kernel', {}),)}, "group pattern 'Dens_0/kernel' .* 'Dense_0/kernel'"),
  ],
)
def test_bad_input_is_one_line(options, message):
  with pytest.raises(ValueError, match=f'^{message}') as error:
    make_optimizer(**options).init(PARAMS)
  assert '\n' not in str(error.value)


def test_a_group_with_every_moves_at_each_nth_update_alone():
  """As Adam does that sees each third gradient: moments and its count stay in between."""
  params = {'a': {'kernel': jnp.ones((2, 2))}, 'b': {'kernel': jnp.ones((2, 2))}}
  tx = make_optimizer('adam', learning_rate=0.1, groups=(('b/.*', {'every': 3}),))
  alone = make_optimizer('adam', learning_rate=0.1)
  state, of_b = tx.init(params), alone.init(params['b'])
  expected = params['b']
  for n in range(7):
    grads = optax.tree.scale(
      n + 1.0, optax.tree.scale(jnp.array([[1.0, -2.0], [0.5, 3.0]]), params)
    )
    updates, state = tx.update(grads, state, params)
    if n % 3 == 2:
      update, of_b = alone.update(grads['b'], of_b, expected)
      expected = optax.apply_updates(expected, update)
      chex.assert_trees_all_close(updates['b'], update, rtol=1e-6)
    else:
      assert not updates['b']['kernel'].any()
    assert updates['a']['kernel'].all()
    params = optax.apply_updates(params, updates)
  chex.assert_trees_all_close(params['b'], expected, rtol=1e-6)


@pytest.mark.parametrize('every', [0, 1.5, -1])
def test_every_must_be_a_count(every):
  with pytest.raises(ValueError, match='every must be a whole number of at least 1'):
    make_optimizer(groups=(('.*', {'every': every}),))
