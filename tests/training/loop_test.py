import threading

import chex
import jax
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.training import build, make_evaluate, parallelize, run, train

ONE = jax.devices()[:1]


def final(iterator):
  for state, source_state, scalars in iterator:
    pass
  return state, source_state, scalars


def test_notebook_loop_learns():
  source = arrays.epochs(toy.data(300), 60)
  losses = [
    float(scalars['loss'])
    for _, _, scalars in train(
      toy.objective('data'),
      optax.adam(1e-2),
      source,
      steps=100,
      parallel=parallelize('pmap', jax.devices()[:4]),
    )
  ]
  assert len(losses) == 100
  assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


@pytest.mark.parametrize(
  'strategy', ['jit', 'pmap', pytest.param('sharded', marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('on_device', [True, False])
def test_step_and_evaluation_are_each_traced_once(strategy, on_device):
  traces = []
  parallel = parallelize(strategy)
  objective = toy.objective(parallel.axis_name, traces)
  source = arrays.epochs(toy.data(100), 16) if on_device else toy.host_source(toy.data(100), 16)
  program = build(objective, optax.sgd(0.1), source, parallel)
  evaluate = make_evaluate(objective, arrays.one_pass(toy.data(37), 16), parallel, program.state)
  state, source_state = program.init(jax.random.key(0))
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: (
      compiled.append(name) if name.endswith('backend_compile_duration') else None
    )
  )
  try:
    for i, (state, source_state, _) in enumerate(
      run(program, source, state, source_state, steps=12)
    ):
      if i % 4 == 3:
        evaluate(state)
      if i == 7:
        count = len(compiled)
    assert len(compiled) == count  # nothing new in the last third of the run
  finally:
    jax.monitoring.clear_event_listeners()
  assert traces.count('loss') == 1
  # The scan of the evaluation traces its body beside the first batch.
  assert traces.count('evaluate') <= 2


def test_many_steps_a_call_equal_single_steps():
  source = arrays.epochs(toy.data(100), 16)
  results = [
    final(
      train(
        toy.objective(),
        optax.sgd(0.1),
        source,
        steps=24,
        parallel=parallelize('jit'),
        steps_per_call=k,
      )
    )
    for k in (1, 8)
  ]
  chex.assert_trees_all_close(results[0][0].params, results[1][0].params, rtol=1e-6)
  chex.assert_trees_all_close(results[0][2], results[1][2], rtol=1e-5)
  assert int(results[1][0].step) == 24


def test_the_first_bad_step_of_a_call_is_reported_though_later_ones_are_good():
  data = toy.data(64)
  data['x'][5] = np.nan
  source, parallel = arrays.epochs(data, 8), parallelize('jit')

  def reported(steps_per_call):
    program = build(
      toy.objective(), optax.sgd(0.1), source, parallel, steps_per_call, skip_nonfinite=True
    )
    state, source_state = program.init(jax.random.key(0))
    calls = run(program, source, state, source_state, steps=8, steps_per_call=steps_per_call)
    return [np.asarray(scalars['nonfinite']) for _, _, scalars in calls]

  bad = [x for x in reported(1) if x[0] >= 0]
  assert len(bad) == 1  # one epoch holds the record once
  np.testing.assert_array_equal(reported(8)[0], bad[0])


def test_host_source_gives_the_same_with_and_without_prefetch_and_from_any_point():
  source = toy.host_source(toy.data(50), 16)
  parallel = parallelize('pmap')
  program = build(toy.objective('data'), optax.sgd(0.1), source, parallel)

  def go(start, steps, prefetch, state=None, source_state=None):
    if state is None:
      state, source_state = program.init(jax.random.key(0))
    return final(
      run(program, source, state, source_state, steps=steps, start=start, prefetch=prefetch)
    )

  straight, position, _ = go(0, 10, 0)
  assert int(position['index']) == 10
  ahead, position, _ = go(0, 10, 3)
  assert int(position['index']) == 10  # what was consumed, not what was prepared
  chex.assert_trees_all_equal(straight.params, ahead.params)
  half, position, _ = go(0, 4, 2)
  rest, position, _ = go(4, 10, 2, half, position)
  chex.assert_trees_all_equal(straight.params, rest.params)


def test_an_error_of_the_source_is_raised_in_the_loop_and_the_thread_ends():
  good = toy.host_source(toy.data(50), 16)

  def broken(state, params, data):
    if state['index'] == 3:
      raise ValueError('record 48: label 11 is out of range')
    return good.next(state, params, data)

  source = good._replace(next=broken)
  program = build(toy.objective(), optax.sgd(0.1), source, parallelize('jit'))
  state, source_state = program.init(jax.random.key(0))
  done = 0
  with pytest.raises(ValueError, match='record 48'):
    for _ in run(program, source, state, source_state, steps=10):
      done += 1
  assert done == 3
  assert not [t for t in threading.enumerate() if t.name == 'prefetch']


def test_calls_in_flight_are_bounded_on_several_cpu_devices():
  from zoo.training.loop import max_in_flight

  assert max_in_flight(parallelize('pmap')) == 8
  assert max_in_flight(parallelize('jit')) > 8


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'steps': 10, 'steps_per_call': 4}, '10 steps are no multiple of steps_per_call=4'),
    ({'steps': 8, 'steps_per_call': 4, 'host': True}, 'needs a source on the device'),
  ],
)
def test_bad_input_is_named(options, message):
  data = toy.data(50)
  source = toy.host_source(data, 16) if options.pop('host', False) else arrays.epochs(data, 16)
  with pytest.raises(ValueError, match=message):
    list(train(toy.objective(), optax.sgd(0.1), source, parallel=parallelize('jit'), **options))
