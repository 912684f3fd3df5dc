"""The families of language keep the contracts that all families keep, from their configs on."""

import runpy

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.scripts import command
from zoo.experiment import complete_config, make_experiment
from zoo.preview import make_preview
from zoo.training import build, make_evaluate, run

SMALL = {
  'pydocs_gpt_char': {'num_layers': 1, 'width': 16, 'num_heads': 2, 'dropout': 0.0},
  'pydocs_lstm': {'width': 16, 'embedding_width': 8, 'dropout': 0.0},
  'dates_transformer': {
    'encoder_layers': 1,
    'decoder_layers': 1,
    'width': 16,
    'num_heads': 2,
    'ffn_width': 16,
    'dropout': 0.0,
  },
}
STEPS = 6


def experiment_of(name, strategy, devices=None, **train):
  """A config, of a small model under SGD: Adam hides a gradient that is n times too big."""
  values = runpy.run_path(str(command.ROOT / 'configs' / f'{name}.py'))['get_config']().to_dict()
  values['model'] |= SMALL[name]
  splits = {'train': 'train[:5%]', 'validation': 'validation[:50%]', 'test': ''}
  values['data'] |= splits | {'dir': str(command.home() / 'tfds'), 'batch_size': 16}
  values['data'] |= {'eval_batch_size': 64, 'length': min(values['data']['length'], 32)}
  values['optimizer'] = {'name': 'sgd', 'learning_rate': 0.1}
  values['train'] = {'parallel': strategy, 'steps': STEPS, **train}
  return make_experiment(complete_config(values), devices=devices)


def trained(experiment):
  """(program, state, source state as saved, how often the loss was traced) after some steps."""
  traces = []

  def loss(*arguments):
    traces.append('loss')
    return experiment.objective.loss(*arguments)

  source, parallel = experiment.dataset.train, experiment.parallel
  objective = experiment.objective._replace(loss=loss)
  program = build(objective, experiment.tx, source, parallel)
  state, source_state = program.init(jax.random.key(0))
  for state, source_state, _ in run(program, source, state, source_state, steps=STEPS):
    pass
  return program, state, program.merge_source(source_state), len(traces)


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALL)
def test_jit_pmap_and_sharded_train_and_judge_alike(name):
  reference, figures = {}, {}
  for strategy in ('jit', 'pmap', 'sharded'):
    experiment = experiment_of(name, strategy)
    program, state, position, traces = trained(experiment)
    assert int(state.step) == STEPS
    assert traces == 1, strategy  # compiled once
    judge = make_evaluate(
      experiment.objective,
      experiment.dataset.evaluation['validation'],
      experiment.parallel,
      program.state,
    )
    figures[strategy] = judge(state)
    reference[strategy] = jax.device_get((state.params, jax.random.key_data(position['key'])))
  for strategy in ('pmap', 'sharded'):
    # The gradient of a key's bias is 0 but for rounding, so no leaf is compared by its own size.
    chex.assert_trees_all_close(reference[strategy], reference['jit'], rtol=1e-4, atol=1e-6)
    assert figures[strategy]['loss'] == pytest.approx(figures['jit']['loss'], rel=1e-4)
    # Two tokens may be all but equally likely.
    assert figures[strategy]['accuracy'] == pytest.approx(figures['jit']['accuracy'], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALL)
def test_compiled_and_eager_gradients_agree(name):
  experiment = experiment_of(name, 'jit', devices=jax.devices()[:1])
  objective, source = experiment.objective, experiment.dataset.train
  _, batch = jax.jit(source.next)(source.init(jax.random.key(1)), None, source.data)
  params, extras = jax.jit(objective.init)(jax.random.key(0), batch)
  grad = jax.grad(objective.loss, has_aux=True)
  compiled, _ = jax.jit(grad)(params, extras, batch, jax.random.key(2))
  with jax.disable_jit():
    eager, _ = grad(params, extras, batch, jax.random.key(2))
  chex.assert_trees_all_close(compiled, eager, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('scan_layers', [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_preview_of_a_language_model_continues_the_validation_text(scan_layers, monkeypatch):
  monkeypatch.setitem(SMALL['pydocs_gpt_char'], 'scan_layers', scan_layers)
  experiment = experiment_of('pydocs_gpt_char', 'auto', seed=3)
  program, state, _, _ = trained(experiment)
  preview = make_preview(experiment, program.state)
  shown = preview(state)
  assert list(shown) == ['samples'] and shown == preview(state)
  text = shown['samples']
  assert isinstance(text, str) and text.count('=== prompt') == 3 and text.count('--- sample') == 6
  _, batch = jax.jit(experiment.dataset.evaluation['validation'].next)(
    *(experiment.dataset.evaluation['validation'].init(jax.random.key(0)), None),
    experiment.dataset.evaluation['validation'].data,
  )
  beginning = experiment.dataset.tokenizer.decode(np.asarray(batch['tokens'][0][:16]).tolist())
  assert f'=== prompt\n{beginning}' in text


@pytest.mark.slow
def test_a_preview_of_translations_is_a_table_with_the_targets():
  experiment = experiment_of('dates_transformer', 'auto')
  program, state, _, _ = trained(experiment)
  text = make_preview(experiment, program.state)(state)['translations']
  assert isinstance(text, str)
  title, *rows, last = text.splitlines()
  assert title.split() == ['source', 'output', 'target']
  assert len(rows) == 24 and all(row[-10:-6].isdecimal() for row in rows)
  assert last == '0 of 24 exactly right'


@pytest.mark.slow
def test_averaged_weights_are_what_a_model_is_used_with():
  """`variables` is what evaluation sees, and `adopt` its inverse."""
  experiment = experiment_of('pydocs_lstm', 'jit', devices=jax.devices()[:1])
  from zoo.objectives import with_ema

  objective = with_ema(experiment.objective, 0.5)
  source = experiment.dataset.train
  _, batch = jax.jit(source.next)(source.init(jax.random.key(1)), None, source.data)
  params, extras = objective.init(jax.random.key(0), batch)
  weights = jax.tree.map(jnp.ones_like, params)
  adopted = objective.adopt(params, extras, {'params': weights})
  chex.assert_trees_all_equal(objective.variables(*adopted)['params'], weights)
  chex.assert_trees_all_equal(adopted[0], weights)
