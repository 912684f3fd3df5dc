"""One program per run: compiled once, also when the run is resumed in a new process."""

import chex
import jax
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.training import build, parallelize, run
from zoo.training.checkpoint import Checkpoints


@pytest.mark.parametrize('strategy', ['jit', 'pmap', 'sharded'])
@pytest.mark.parametrize('on_device', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_resumed_run_compiles_its_step_once_and_ends_the_same(strategy, on_device, tmp_path):
  parallel = parallelize(strategy)
  source = arrays.epochs(toy.data(50), 16) if on_device else toy.host_source(toy.data(50), 16)

  def new_program(traces):
    objective = toy.objective(parallel.axis_name, traces)
    return build(objective, optax.adam(0.1), source, parallel)

  program = new_program([])
  state, source_state = program.init(jax.random.key(0))
  with Checkpoints(tmp_path) as checkpoints:
    for i, (state, source_state, _) in enumerate(
      run(program, source, state, source_state, steps=9)
    ):
      if i == 3:
        checkpoints.save(4, state, program.merge_source(source_state))
  expected = jax.device_get(state.params)

  traces, compiled = [], []
  program = new_program(traces)  # as a new process would
  with Checkpoints(tmp_path) as checkpoints:
    step, state, source_state, _ = checkpoints.restore(*program.abstract)
  source_state = program.place_source(source_state)
  traces.clear()  # building traces `init` alone, but be sure that the step alone is counted
  listen = lambda name, *_, **__: compiled.append(name) if 'backend_compile' in name else None
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    for i, (state, source_state, _) in enumerate(
      run(program, source, state, source_state, steps=9, start=step)
    ):
      if i == 0:
        first = len(compiled)
    assert len(compiled) == first >= 1  # the first call compiled, and no later one
  finally:
    jax.monitoring.clear_event_listeners()
  assert traces.count('loss') == 1
  chex.assert_trees_all_equal(jax.device_get(state.params), expected)
