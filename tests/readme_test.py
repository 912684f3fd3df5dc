"""README tells the truth: its code runs, its files exist, and its table is what was measured."""

import json
import pathlib
import re
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()


@pytest.fixture
def results(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['results.py'])
  return runpy.run_path(str(ROOT / 'scripts' / 'results.py'))


def test_the_code_runs(capsys):
  blocks = re.findall(r'```python\n(.*?)```', README, flags=re.DOTALL)
  assert len(blocks) == 2
  for block in blocks:
    exec(block.replace('steps=500', 'steps=4').replace('step % 100', 'step % 2'), {})
  assert len(capsys.readouterr().out.splitlines()) == 2


def test_every_link_and_script_exists():
  for target in re.findall(r'\]\(([^)#]+)\)', README):
    assert (ROOT / target).exists(), target
  for target in re.findall(r'\b(?:scripts|configs)/\w+\.py', README):
    assert (ROOT / target).exists(), target


def test_the_table_is_what_the_files_say(results):
  table = results['make_table'](ROOT / 'configs', ROOT / 'results')
  assert results['replace_table'](README, table) == README, 'run python scripts/results.py'


def test_a_row_is_the_mean_and_spread_of_its_runs_or_says_not_run(results, tmp_path):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'a.py').touch()
  (tmp_path / 'configs' / 'b.py').touch()
  (tmp_path / 'results' / 'a').mkdir(parents=True)
  origin = {'platform': 'cpu', 'cpu': 'a cpu', 'cpu_cores': 2, 'git_commit': 'abcdef0123456'}
  origin['versions'] = {'jax': '1', 'flax': '2'}
  for seed, accuracy in enumerate((0.98, 0.99, 1.0)):
    run = {'metrics': {'test': {'accuracy': accuracy}}, 'parameters': 1234, 'seconds': 10 + seed}
    text = json.dumps(run | {'provenance': origin})
    (tmp_path / 'results' / 'a' / f'seed{seed}.json').write_text(text)
  rows = results['make_table'](tmp_path / 'configs', tmp_path / 'results').splitlines()[2:]
  assert rows == [
    '| `a` | 1,234 | accuracy 99.00% ± 1.00% | 3 | 10 s | 2 cores, a cpu | jax 1, flax 2 '
    '| abcdef01 |',
    '| `b` | | not run | | | | | |',
  ]


def test_the_runs_of_one_seed_count_as_their_mean(results, tmp_path):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'a.py').touch()
  (tmp_path / 'results' / 'a').mkdir(parents=True)
  origin = {'platform': 'cpu', 'cpu': 'a cpu', 'cpu_cores': 2, 'git_commit': 'abcdef0123456'}
  origin['versions'] = {'jax': '1', 'flax': '2'}
  for name, auroc in (('x_seed0', 0.5), ('y_seed0', 0.7), ('x_seed1', 0.7), ('y_seed1', 0.9)):
    run = {'best': 'auroc', 'metrics': {'test': {'auroc': auroc}}, 'parameters': 9, 'seconds': 1}
    path = tmp_path / 'results' / 'a' / f'{name}.json'
    path.write_text(json.dumps(run | {'provenance': origin}))
  row = results['make_table'](tmp_path / 'configs', tmp_path / 'results').splitlines()[2]
  assert '| auroc 0.7000 ± 0.1414 | 2 |' in row


def test_a_result_without_its_provenance_is_refused(results, tmp_path):
  (tmp_path / 'seed0.json').write_text('{"metrics": {}}')
  with pytest.raises(ValueError, match=r'seed0\.json does not say which commit'):
    results['read_runs'](tmp_path)
