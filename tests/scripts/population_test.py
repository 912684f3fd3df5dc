"""Runs side by side from the command line: trained, judged, and one of them opened."""

import json

import pytest

from tests.scripts import command

SIDE_BY_SIDE = [
  *('--config.train.seed=4', '--config.train.seeds=2'),
  '--sweep.optimizer.learning_rate=0.01,0.02',
]


@pytest.mark.slow
def test_seeds_and_rates_side_by_side(tmp_path):
  said = command.train_to_end(tmp_path, *SIDE_BY_SIDE)
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


def test_what_cannot_be_swept_is_named(tmp_path):
  said = command.refusal(command.train(tmp_path, '--sweep.optimizer.learning_rate=a'))
  assert '--sweep.optimizer.learning_rate=a must give numbers' in said
