"""Learning with few labels or none keeps the contracts that all families keep, from configs on."""

import runpy

import chex
import jax
import numpy as np
import pytest

from tests.scripts import command
from tests.training import toy
from zoo.experiment import complete_config, make_experiment
from zoo.interop.initial import match_params
from zoo.judge import make_judges, probe
from zoo.runs import teach
from zoo.training import build, make_evaluate, run, rundir
from zoo.training.checkpoint import Checkpoints

# What is random is off: devices draw by keys of their own. Thresholds are low, so that they matter.
CHANGES = {
  'digits_fixmatch': {
    'threshold': 0.2,
    'ema_decay': 0.0,
    'teacher_decay': 0.5,
    'alignment_decay': 0.5,
  },
  'digits_fixmatch, joint': {
    'threshold': 0.2,
    'ema_decay': 0.0,
    'joint': True,
    'alignment_decay': 0.5,
  },
  'digits_simclr': {'ema_decay': 0.5},
  'digits_distill': {'ema_decay': 0.5},
}
STEPS = 4
REST = {'objective': {'name': 'classification'}}


@pytest.fixture(autouse=True)
def quick_compilation():
  """Compiling is nearly all of the time here."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def experiment_of(name, strategy, teacher=None, **data):
  """A config, of a small model under SGD: Adam hides a gradient that is n times too big."""
  file = command.ROOT / 'configs' / f'{name.partition(",")[0]}.py'
  values = runpy.run_path(str(file))['get_config']().to_dict()
  values['model'] = {'name': 'mlp', 'widths': (16,), 'norm': 'batch'}
  values['objective'] |= CHANGES[name]
  values['data'] |= {'train': 'train[:100]', 'validation': 'train[100:150]', 'test': ''}
  values['data'] |= {'dir': str(command.home() / 'tfds')}
  values['data'] |= {'batch_size': 16, 'eval_batch_size': 16, 'augment': {}, 'strong': {}, **data}
  values['optimizer'] = {'name': 'sgd', 'learning_rate': 0.1}
  values['train'] = {'parallel': strategy, 'steps': STEPS}
  if name == 'digits_distill':
    values['train']['teacher'] = str(teacher)
  return make_experiment(complete_config(values))


def trained(experiment):
  """(state, its figures of the validation split, the last scalars) after some steps."""
  source, parallel = experiment.dataset.train, experiment.parallel
  program = build(experiment.objective, experiment.tx, source, parallel)
  state, scalars = after_steps(program, source)
  validation = experiment.dataset.evaluation['validation']
  judge = make_evaluate(experiment.objective, validation, parallel, program.state)
  return jax.device_get((state.params, state.extras)), judge(state), jax.device_get(scalars)


def after_steps(program, source):
  """(state, the last scalars)."""
  state, source_state = program.init(jax.random.key(0))
  scalars = {}
  for state, source_state, scalars in run(program, source, state, source_state, steps=STEPS):
    pass
  return state, scalars


@pytest.mark.slow
@pytest.mark.parametrize('name', CHANGES)
def test_jit_pmap_and_sharded_train_and_judge_alike(name, tmp_path):
  rundir.write_config(tmp_path, {'model': {'name': 'mlp', 'widths': (5,), 'norm': 'batch'}} | REST)
  reference, figures, scalars = trained(experiment_of(name, 'jit', tmp_path))
  for strategy in ('pmap', 'sharded'):
    state, judged, logged = trained(experiment_of(name, strategy, tmp_path))
    toy.assert_same(state, reference, rtol=1e-4)
    assert judged == pytest.approx(figures, rel=1e-4)
    assert logged['loss'] == pytest.approx(scalars['loss'], rel=1e-4)


def test_a_strong_augmentation_that_nothing_compares_is_refused():
  with pytest.raises(ValueError, match=r'classification compares no views: config\.data\.strong'):
    values = runpy.run_path(str(command.ROOT / 'configs' / 'digits_few.py'))['get_config']()
    values.data.strong = {'cutout': {}}
    values.data.dir = str(command.home() / 'tfds')
    make_experiment(complete_config(values.to_dict()))


@pytest.mark.slow
def test_unlabeled_examples_change_what_is_learnt_and_labels_of_them_do_not():
  """Of two runs whose unlabelled examples differ in labels alone, the parameters are the same."""
  experiment = experiment_of('digits_fixmatch', 'jit')
  source = experiment.dataset.train
  program = build(experiment.objective, experiment.tx, source, experiment.parallel)
  state, scalars = after_steps(program, source)
  assert 0 < scalars['mask_rate'] <= 1
  unlabeled = program.data['unlabeled']
  for key, change in (('label', lambda x: (x + 1) % 10), ('image', lambda x: 255 - x)):
    data = program.data | {'unlabeled': unlabeled | {key: change(unlabeled[key])}}
    other, _ = after_steps(program._replace(data=data), source)
    same = jax.tree.map(np.array_equal, other.params, state.params)
    assert all(jax.tree.leaves(same)) == (key == 'label')


def test_a_teacher_is_fetched_from_its_run(monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(command.home() / 'tfds'))
  workdir = command.finished()
  experiment = experiment_of('digits_distill', 'pmap', workdir, train='train[:250]')
  program = build(
    experiment.objective, experiment.tx, experiment.dataset.train, experiment.parallel
  )
  state, _ = program.init(jax.random.key(0))
  taught = teach(experiment, program, state)
  chex.assert_trees_all_equal(taught.params, state.params)
  best = command.restored(workdir, best_step(workdir))
  teacher = taught.extras['inner']['teacher']
  chex.assert_trees_all_equal(
    jax.device_get(teacher),
    jax.device_get({'params': best.state.extras['ema'], **best.state.extras['inner']}),
  )
  other = experiment_of('digits_distill', 'pmap', workdir)
  with pytest.raises(ValueError, match='has learnt from inputs standardised otherwise'):
    teach(other, program, state)


def best_step(workdir):
  with Checkpoints(workdir / 'checkpoints') as checkpoints:
    return checkpoints.best_step()


@pytest.mark.parametrize(
  ('name', 'teacher', 'message'),
  [
    ('digits_distill', '', r'distillation needs a teacher: config\.train\.teacher'),
    ('digits_distill', '/no/such', r"config\.train\.teacher: '/no/such' holds no run"),
    ('digits_few', '/no/such', r'classification has no teacher: config\.train\.teacher'),
  ],
)
def test_a_teacher_that_is_missing_or_of_no_use(name, teacher, message):
  values = runpy.run_path(str(command.ROOT / 'configs' / f'{name}.py'))['get_config']()
  values.data.dir, values.train.teacher = str(command.home() / 'tfds'), teacher
  with pytest.raises(ValueError, match=message):
    make_experiment(complete_config(values.to_dict()))


def test_probes_tell_apart_what_can_be():
  rng = np.random.default_rng(0)
  labels = np.arange(60) % 3
  apart = np.eye(3)[labels] + 0.01 * rng.normal(size=(60, 3))
  noise = rng.normal(size=(60, 3))
  assert probe(apart[:30], labels[:30], apart[30:], labels[30:]) == {'linear_probe': 1, 'knn': 1}
  assert max(probe(noise[:30], labels[:30], noise[30:], labels[30:]).values()) < 0.7


@pytest.mark.slow
def test_features_are_judged_by_probes_and_transferred_without_the_projection():
  experiment = experiment_of('digits_simclr', 'jit')
  program = build(
    experiment.objective, experiment.tx, experiment.dataset.train, experiment.parallel
  )
  state, _ = program.init(jax.random.key(0))
  (figures,) = make_judges(experiment, program.state)['validation'](state)
  assert set(figures) == {'loss', 'matches', 'linear_probe', 'knn'}
  assert 0.4 < figures['linear_probe'] < 1  # random features of 100 digits tell something

  streamed = experiment.dataset._replace(train=experiment.dataset.train._replace(on_device=False))
  with pytest.raises(ValueError, match=r'probes of features need config\.data\.on_device=True'):
    make_judges(experiment._replace(dataset=streamed), program.state)

  weights = jax.device_get(experiment.objective.variables(state.params, state.extras)['params'])
  classifier = experiment_of('digits_fixmatch', 'jit').module
  image = np.zeros((1, 8, 8, 1), np.float32)
  target = classifier.init(jax.random.key(1), image, train=False)['params']
  matched = match_params(target, weights, ('head/.*',))
  chex.assert_trees_all_equal(matched['Dense_0'], weights['Dense_0'])
