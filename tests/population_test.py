"""Several seeds at once: each member is the run that it would be by itself."""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.data.interaction_test import make
from tests.training import toy
from zoo import optim
from zoo.benchmark.hlo import traffic
from zoo.data import arrays
from zoo.optim import make_optimizer
from zoo.population import (
  build_population,
  change_each,
  evaluate_population,
  member,
  member_on,
  members_of,
  parallelize_members,
  reconfigure,
)
from zoo.robust import bootstrap_interval, interquartile_mean, spread
from zoo.runs import number_of
from zoo.training import build, make_evaluate, parallelize, rundir
from zoo.training.settings import TrainSettings


def train(program, seed, calls):
  """Both states after some calls."""
  states = program.init(jax.random.key(seed))
  for _ in range(calls):
    states = program.step(*states, program.data)[:2]
  return states


@pytest.mark.parametrize('devices', [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_member_is_the_run_of_its_seed_and_rate_and_all_compile_once(devices):
  source, jit = arrays.epochs(toy.data(100), 32), parallelize('jit')
  parallel = parallelize_members('auto', 4, jax.devices()[:devices])
  objective, tx = toy.objective(), make_optimizer('adam', learning_rate=0.01)
  members = members_of(6, 2, {'optimizer.learning_rate': (0.02, 0.05)})
  assert [str(m) for m in members][2:] == [
    'optimizer.learning_rate=0.05 seed=6',
    'optimizer.learning_rate=0.05 seed=7',
  ]
  population = build_population(objective, tx, source, parallel, members, steps_per_call=2)
  states, compiled = train(population, 0, 1), []
  listen = lambda name, *_, **__: compiled.append(name) if 'backend_compile' in name else None
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    for _ in range(2):
      states = population.step(*states, population.data)[:2]
  finally:
    jax.monitoring.clear_event_listeners()
  assert not compiled
  state, source_state = states
  assert len(state.params['Dense_0']['kernel'].sharding.device_set) == devices
  assert int(state.step) == 6
  split = arrays.one_pass(toy.data(50, 1), 32)
  figures = evaluate_population(objective, split, parallel)(state)

  tx = make_optimizer('adam', learning_rate=0.05)
  program = build(objective, tx, source, jit, steps_per_call=2)
  single = train(program, 7, 3)
  alone = member_on(state, 3, jit)
  assert alone.key.sharding.device_set == {jax.devices()[0]}
  toy.assert_same(alone.params, single[0].params)
  toy.assert_same(member(state, 3).opt_state, single[0].opt_state)
  one, other = (dict(x) for x in (member(source_state, 3), single[1]))
  chex.assert_trees_all_equal(*(jax.random.key_data(x.pop('key')) for x in (one, other)))
  chex.assert_trees_all_equal(one, other)
  judge = make_evaluate(objective, split, jit, program.state)
  want = judge(single[0])
  assert figures[3] == pytest.approx(want, rel=1e-5)


def test_the_best_of_more_than_ten_is_found_by_name(tmp_path):
  members = members_of(0, 12, {})
  figures = {str(m): {'validation': {'score': float(m.seed == 2)}} for m in members}
  rundir.write_summary(tmp_path, {'members': figures})
  settings = TrainSettings(best='score')
  experiment = types.SimpleNamespace(settings=settings, members=members)
  assert number_of('best', experiment, tmp_path) == 2  # pyright: ignore[reportArgumentType]


def test_what_is_restored_gets_the_values_that_a_config_names():
  _, objective, source, _ = make(parts=2)
  tx = make_optimizer('adam', learning_rate=0.01)
  program = build(objective, tx, source, parallelize('jit'))
  states = train(program, 0, 1)
  config = {'optimizer': {'learning_rate': 0.5}, 'data': {'epsilon_end': 0.25}}
  state, source_state = reconfigure(*states, config)
  assert float(optim.scheduled_learning_rate(state.opt_state)) == 0.5
  assert float(source_state['epsilon_end']) == 0.25
  _, same = reconfigure(*states, {'optimizer': {'learning_rate': 0.5}, 'data': {}})
  assert float(same['epsilon_end']) == float(states[1]['epsilon_end'])
  program.step(state, source_state, program.data)
  assert program.step._cache_size() == 1


@pytest.mark.slow
@pytest.mark.parametrize('prioritized', [False, True])
def test_a_member_acts_stores_draws_and_learns_as_it_would_by_itself(prioritized):
  _, objective, source, _ = make(prioritized=prioritized, parts=2)
  tx, jit = optax.sgd(0.1), parallelize('jit')
  members = members_of(4, 1, {'data.epsilon_end': (0.7, 0.1)})  # by itself it has the second
  population = build_population(objective, tx, source, jit, members, steps_per_call=5)
  state, source_state = train(population, 0, 2)
  single = train(build(objective, tx, source, jit, steps_per_call=5), 4, 2)
  toy.assert_same(member(state, 1).params, single[0].params)
  toy.assert_same(member(state, 1).extras, single[0].extras)
  for name in ('replay', 'environment', 'time', 'lane'):
    chex.assert_trees_all_equal(member(source_state, 1)[name], single[1][name])


@pytest.mark.slow
def test_scalars_are_means_and_what_is_not_finite_is_found_in_any_member():
  source, jit = arrays.epochs(toy.data(100), 32), parallelize('jit')
  tx = make_optimizer('sgd', learning_rate=0.1)
  members = members_of(0, 3, {})
  population = build_population(toy.objective(), tx, source, jit, members)
  state, source_state = population.init(jax.random.key(0))
  bad = jax.tree.map(lambda x: x.at[1].set(jnp.nan), jax.tree.map(jnp.copy, state.params))
  losses = []
  for seed in range(3):
    program = build(toy.objective(), tx, source, jit)
    losses.append(program.step(*program.init(jax.random.key(seed)), program.data)[2]['loss'])
  *states, scalars = population.step(state, source_state, population.data)
  assert scalars['loss'] == pytest.approx(np.mean(losses), rel=1e-5)
  assert scalars['nonfinite'].tolist() == [-1, -1]
  state = states[0].replace(params=bad)
  assert population.step(state, states[1], population.data)[2]['nonfinite'][0] == 1


@pytest.mark.parametrize(('runs', 'devices'), [(20, 5), (8, 8), (7, 7), (11, 1), (2, 2)])
def test_as_many_devices_take_part_as_divide_the_runs(runs, devices):
  parallel = parallelize_members('auto', runs)
  assert parallel.mesh.size == devices
  assert parallel.strategy == ('jit' if devices == 1 else 'sharded')


@pytest.mark.slow
def test_devices_with_runs_of_their_own_tell_each_other_only_what_is_logged():
  source, parallel = arrays.epochs(toy.data(100), 32), parallelize_members('auto', 4)
  tx, members = make_optimizer('adam', learning_rate=0.01), members_of(0, 4, {})
  population = build_population(toy.objective(), tx, source, parallel, members, steps_per_call=2)
  states = population.init(jax.random.key(0))
  one = member(states[0], 0)
  text = population.step.lower(*states, population.data).compile().as_text()
  assert 0 < traffic(text).bytes < 100 < sum(x.nbytes for x in jax.tree.leaves(one.params))


def test_every_member_is_changed_by_itself_and_counts_stay_without_an_axis():
  tree = {'count': np.int32(7), 'rows': np.arange(6.0).reshape(3, 2)}
  change = lambda one: {'count': one['count'], 'rows': one['rows'] - one['rows'].mean()}
  changed = change_each(change, tree, 3)
  want = {'count': np.int32(7), 'rows': np.array([[-0.5, 0.5]] * 3)}
  chex.assert_trees_all_equal(changed, want)
  chex.assert_trees_all_equal(change_each(change, want, 1), change(want))


def test_runs_side_by_side_are_for_one_process(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(ValueError, match='runs side by side are for one process'):
    parallelize_members('auto', 8)


def test_what_cannot_be_side_by_side_is_refused():
  sgd, one = optax.sgd(0.1), members_of(0, 1, {})
  with pytest.raises(ValueError, match='only sources on the device'):
    host = toy.host_source(toy.data(10), 4)
    build_population(toy.objective(), sgd, host, parallelize('jit'), one)
  with pytest.raises(ValueError, match=r'--config\.train\.parallel=sharded, jit or auto'):
    parallelize_members('pmap', 8)
  with pytest.raises(ValueError, match='12 runs side by side cannot be divided among 8 devices'):
    parallelize_members('sharded', 12)
  with pytest.raises(ValueError, match=r"option to sweep 'optimizer\.learning_rat'"):
    members_of(0, 1, {'optimizer.learning_rat': (1,)})
  with pytest.raises(ValueError, match=r'--sweep\.optimizer\.learning_rate must be numbers'):
    members_of(0, 1, {'optimizer.learning_rate': ('a',)})


def test_the_spread_of_members():
  figures = [{'loss': 1.0, 'accuracy': 0.5}, {'loss': 3.0, 'accuracy': 0.7}]
  found = spread(figures, 'accuracy')
  assert found['loss'] == 2 and found['loss_members_std'] == pytest.approx(2**0.5)
  assert found['accuracy_iqm'] == pytest.approx(0.6)
  assert (found['accuracy_low'], found['accuracy_high']) == (0.5, 0.7)
  assert spread(figures[:1], 'accuracy') == figures[0]


def test_the_interquartile_mean_is_that_of_the_middle_half():
  assert interquartile_mean(np.array([-100, 1, 3, 900])) == 2
  assert interquartile_mean(np.arange(8)) == pytest.approx(3.5)
  # Of five each is a fifth: of the second and of the fourth three quarters are inside.
  want = (0.15 * 2 + 0.2 * 4 + 0.15 * 10) / 0.5
  assert interquartile_mean(np.array([0, 2, 4, 10, 50])) == pytest.approx(want)


def test_the_interval_covers_the_mean_it_was_drawn_around():
  rng, inside = np.random.default_rng(0), 0
  for seed in range(60):
    low, high = bootstrap_interval(rng.normal(size=20), draws=200, seed=seed)
    inside += low <= 0 <= high
  assert 48 <= inside <= 60  # of 95%, with so few values a little less
  assert bootstrap_interval(np.full(5, 3.0)) == (3, 3)
