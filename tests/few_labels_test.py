"""Learning with few labels or none keeps the contracts that all families keep, from configs on."""

import runpy

import jax
import numpy as np
import pytest

from tests.scripts import command
from tests.training import toy
from zoo.experiment import complete_config, make_experiment
from zoo.training import build, make_evaluate, run

# What is random is off: devices draw by keys of their own. Thresholds are low, so that they matter.
CHANGES = {
  'digits_fixmatch': {
    'threshold': 0.2,
    'ema_decay': 0.0,
    'teacher_decay': 0.5,
    'alignment_decay': 0.5,
  },
}
STEPS = 4


@pytest.fixture(autouse=True)
def quick_compilation():
  """Compiling is nearly all of the time here."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def experiment_of(name, strategy, **data):
  """A config, of a small model under SGD: Adam hides a gradient that is n times too big."""
  values = runpy.run_path(str(command.ROOT / 'configs' / f'{name}.py'))['get_config']().to_dict()
  values['model'] = {'name': 'mlp', 'widths': (16,), 'norm': 'batch'}
  values['objective'] |= CHANGES[name]
  values['data'] |= {'train': 'train[:100]', 'validation': 'train[100:150]', 'test': ''}
  values['data'] |= {'dir': str(command.home() / 'tfds')}
  values['data'] |= {'batch_size': 16, 'eval_batch_size': 16, 'augment': {}, 'strong': {}, **data}
  values['optimizer'] = {'name': 'sgd', 'learning_rate': 0.1}
  values['train'] = {'parallel': strategy, 'steps': STEPS}
  return make_experiment(complete_config(values))


def trained(experiment):
  """(state, its figures of the validation split, the last scalars) after some steps."""
  traces = []

  def loss(*arguments):
    traces.append('loss')
    return experiment.objective.loss(*arguments)

  source, parallel = experiment.dataset.train, experiment.parallel
  objective = experiment.objective._replace(loss=loss)
  program = build(objective, experiment.tx, source, parallel)
  state, source_state = program.init(jax.random.key(0))
  for state, source_state, scalars in run(program, source, state, source_state, steps=STEPS):
    pass
  assert len(traces) == 1  # compiled once
  judge = make_evaluate(
    objective, experiment.dataset.evaluation['validation'], parallel, program.state
  )
  return jax.device_get((state.params, state.extras)), judge(state), jax.device_get(scalars)


@pytest.mark.parametrize('name', CHANGES)
def test_jit_pmap_and_sharded_train_and_judge_alike(name):
  reference, figures, scalars = trained(experiment_of(name, 'jit'))
  for strategy in ('pmap', 'sharded'):
    state, judged, logged = trained(experiment_of(name, strategy))
    toy.assert_same(state, reference, rtol=1e-4)
    assert judged == pytest.approx(figures, rel=1e-4)
    assert logged['loss'] == pytest.approx(scalars['loss'], rel=1e-4)


def test_a_strong_augmentation_that_nothing_compares_is_refused():
  with pytest.raises(ValueError, match=r'classification compares no views: config\.data\.strong'):
    values = runpy.run_path(str(command.ROOT / 'configs' / 'digits_few.py'))['get_config']()
    values.data.strong = {'cutout': {}}
    values.data.dir = str(command.home() / 'tfds')
    make_experiment(complete_config(values.to_dict()))


def test_unlabeled_examples_change_what_is_learnt_and_labels_of_them_do_not():
  """Of two runs whose unlabelled examples differ in labels alone, the parameters are the same."""
  (params, _), _, scalars = trained(experiment_of('digits_fixmatch', 'jit'))
  assert 0 < scalars['mask_rate'] <= 1
  experiment = experiment_of('digits_fixmatch', 'jit')
  data = experiment.dataset.train.data
  for key, change in (('label', lambda x: (x + 1) % 10), ('image', lambda x: 255 - x)):
    changed = {**data, 'unlabeled': {**data['unlabeled'], key: change(data['unlabeled'][key])}}
    train = experiment.dataset.train._replace(data=changed)
    other = experiment._replace(dataset=experiment.dataset._replace(train=train))
    same = jax.tree.map(np.array_equal, trained(other)[0][0], params)
    assert all(jax.tree.leaves(same)) == (key == 'label')
