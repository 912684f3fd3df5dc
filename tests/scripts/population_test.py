"""Runs side by side from the command line: trained, judged, and one of them opened."""

import json

import chex
import pytest

from tests.scripts import command
from zoo import population, runs

SIDE_BY_SIDE = [
  *('--config.train.seed=4', '--config.train.seeds=2'),
  '--sweep.optimizer.learning_rate=0.01,0.02',
]


@pytest.mark.slow
def test_seeds_and_rates_side_by_side(tmp_path):
  said = command.train_to_end(tmp_path, *SIDE_BY_SIDE, devices=2)
  assert json.loads((tmp_path / 'summary.json').read_text())['strategy'] == 'sharded'
  summary = json.loads((tmp_path / 'summary.json').read_text())
  names = [
    f'optimizer.learning_rate={rate} seed={seed}' for rate in (0.01, 0.02) for seed in (4, 5)
  ]
  assert list(summary['members']) == names
  assert all(f'  {name}: validation' in said for name in names)
  values = [of['test']['accuracy'] for of in summary['members'].values()]
  assert len(set(values)) > 1
  assert summary['metrics']['test']['accuracy'] == pytest.approx(sum(values) / 4)

  judged = lambda *args: json.loads(
    command.run('evaluate', f'--workdir={tmp_path}', '--json', *args).stdout
  )['metrics']['test']['accuracy']
  assert judged() == pytest.approx(summary['metrics']['test']['accuracy'])
  assert judged('--member=3') == pytest.approx(values[3])
  by_validation = [of['validation']['accuracy'] for of in summary['members'].values()]
  best = by_validation.index(max(by_validation))
  assert judged('--member=best') == pytest.approx(values[best])
  said = command.refusal(command.run('evaluate', f'--workdir={tmp_path}', '--member=4'))
  assert "--member must be 'best' or a number from 0 to 3, not '4'" in said


@pytest.mark.slow
def test_all_members_start_from_the_weights_of_another_run(tmp_path):
  command.train_to_end(tmp_path / 'first')
  command.train_to_end(
    *(tmp_path / 'both', f'--config.train.init_from={tmp_path / "first"}'),
    *('--config.train.seeds=2', '--config.optimizer.learning_rate=0.0'),
    '--config.objective.ema_decay=0.0',  # an average of the weights they started with
    devices=2,
  )
  first, both = (
    runs.open_run(tmp_path / name, which, member=None)
    for name, which in (('first', 'best'), ('both', 'last'))
  )
  started = first.variables['params']
  for index in range(2):
    chex.assert_trees_all_equal(population.member(both.state.params, index), started)


@pytest.mark.slow
def test_every_member_is_judged_where_it_was_best(tmp_path):
  command.train_to_end(
    *(
      tmp_path,
      '--config.train.seeds=2',
      '--config.train.final=best',
      '--config.train.keep_last=9',
    ),
    *(
      '--config.train.steps=24',
      '--config.train.eval_every=8',
      '--config.train.checkpoint_every=8',
    ),
    '--config.optimizer.learning_rate=0.3',
  )
  summary = json.loads((tmp_path / 'summary.json').read_text())
  judged = lambda *args: json.loads(
    command.run('evaluate', f'--workdir={tmp_path}', '--json', *args).stdout
  )['metrics']
  for i, of in enumerate(summary['members'].values()):
    figures = {step: judged(f'--member={i}', f'--step={step}') for step in (8, 16, 24)}
    accuracy = {step: of_step['validation']['accuracy'] for step, of_step in figures.items()}
    best = max(accuracy, key=lambda step: accuracy[step])
    assert summary['final_steps'][i] == best
    assert of['test']['accuracy'] == pytest.approx(figures[best]['test']['accuracy'])
    assert judged(f'--member={i}', '--step=best') == figures[best]


def test_what_cannot_be_swept_is_named(tmp_path):
  said = command.refusal(command.train(tmp_path, '--sweep.optimizer.learning_rate=a'))
  assert '--sweep.optimizer.learning_rate=a must give numbers' in said
