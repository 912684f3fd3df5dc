import json

import pytest

from tests.scripts import command
from zoo import sweep


def test_values_are_parts_between_commas_but_for_those_in_brackets():
  assert sweep.split('adamw,lamb') == ['adamw', 'lamb']
  assert sweep.split('(16,),(32, 64)') == ['(16,)', '(32, 64)']
  assert sweep.split("{'a': (1,2)}, 3") == ["{'a': (1,2)}", '3']


def test_what_can_be_side_by_side_stays_so_and_the_rest_is_every_combination():
  rates = '--sweep.optimizer.learning_rate=0.1,0.2'
  rest, runs = sweep.combinations(
    [
      *('--config.train.steps=5', rates),
      *('--sweep.model.dropout=0.1,0.2', '--sweep.optimizer.name=a,b'),
    ]
  )
  assert rest == ['--config.train.steps=5', rates]
  assert runs == [
    [f'--config.model.dropout={rate}', f'--config.optimizer.name={name}']
    for rate in ('0.1', '0.2')
    for name in ('a', 'b')
  ]
  assert sweep.folder_of(runs[1]) == 'model.dropout=0.1,optimizer.name=b'
  assert sweep.combinations(['--config.train.steps=5'])[1] == [[]]


@pytest.mark.parametrize('values', ['', 'a,', 'a,a'])
def test_values_are_there_and_different(values):
  with pytest.raises(ValueError, match='must give different values'):
    sweep.combinations([f'--sweep.optimizer.name={values}'])


def test_an_option_that_does_not_exist_is_refused_before_anything_is_trained(tmp_path):
  wrong = ('--sweep.model.dropout=0.1,0.2', '--sweep.model.widhts=(3,),(4,)')
  assert "did you mean 'widths'" in command.refusal(command.train(tmp_path, *wrong))
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_runs_come_one_after_another_and_the_best_is_named(tmp_path):
  arguments = ('--sweep.model.widths=(1,),(16,)', '--config.train.steps=80')
  done = command.train(tmp_path, *arguments)
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / 'sweep.json').read_text())
  assert [*found['runs']] == ['model.widths=(1,)', 'model.widths=(16,)']
  assert found['best'] == 'model.widths=(16,)'
  assert 'best: model.widths=(16,)' in done.stdout
  for name, metrics in found['runs'].items():
    assert json.loads((tmp_path / name / 'summary.json').read_text())['metrics'] == metrics
  again = command.train(tmp_path, *arguments)
  assert again.returncode == 0 and again.stdout.count('is complete') == 2
