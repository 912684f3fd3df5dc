import json

import pytest

from zoo.benchmark.records import read_peers, read_runs, read_suite
from zoo.benchmark.suites import Target, model
from zoo.benchmark.tables import peers_table, quality_table, speed_table

ORIGIN = {
  'platform': 'cpu',
  'cpu': 'a cpu',
  'cpu_cores': 2,
  'git_commit': 'abcdef0123456',
  'git_dirty': False,
  'date': '2026-01-02T03:04:05+00:00',
  'device_kind': 'cpu',
  'versions': {'jax': '1', 'flax': '2'},
}


def results_of(tmp_path, runs):
  """The cells of the row of a config that has these runs, file name -> summary."""
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'a.py').touch()
  (tmp_path / 'configs' / 'b.py').touch()
  (tmp_path / 'results' / 'a').mkdir(parents=True)
  for name, run in runs.items():
    text = json.dumps({'parameters': 1234, 'provenance': ORIGIN} | run)
    (tmp_path / 'results' / 'a' / f'{name}.json').write_text(text)
  return quality_table(tmp_path / 'configs', tmp_path / 'results').splitlines()[2:]


def accuracy(value, seconds=10):
  return {'metrics': {'test': {'accuracy': value}}, 'seconds': seconds}


def test_a_row_is_the_mean_and_spread_of_its_runs_or_says_not_run(tmp_path):
  runs = {f'seed{i}': accuracy(value, 10 + i) for i, value in enumerate((0.98, 0.99, 1.0))}
  assert results_of(tmp_path, runs) == [
    '| `a` | 1,234 | accuracy 99.00% ± 1.00% | 3 | 10 s | 2 cores, a cpu | jax 1, flax 2 '
    '| abcdef01 |',
    '| `b` |  | not run |  |  |  |  |  |',
  ]


def test_the_runs_of_one_seed_count_as_their_mean(tmp_path):
  runs = {}
  for name, auroc in (('x_seed0', 0.5), ('y_seed0', 0.7), ('x_seed1', 0.7), ('y_seed1', 0.9)):
    runs[name] = {'best': 'auroc', 'metrics': {'test': {'auroc': auroc}}, 'seconds': 1}
  assert '| auroc 0.7000 ± 0.1414 | 2 |' in results_of(tmp_path, runs)[0]


def test_of_seeds_side_by_side_each_counts(tmp_path):
  members = {f'seed={i}': {'test': {'accuracy': x}} for i, x in enumerate((0.9, 1.0))}
  runs = {'seeds': {'members': members, 'metrics': {}, 'seed': 0, 'seconds': 4}}
  assert '| accuracy 95.00% ± 7.07% | 2 | 4 s |' in results_of(tmp_path, runs)[0]


def test_what_has_no_provenance_is_refused(tmp_path):
  (tmp_path / 'seed0.json').write_text('{"metrics": {}}')
  with pytest.raises(ValueError, match=r'seed0\.json does not say which commit'):
    read_runs(tmp_path)
  (tmp_path / 'peers.jsonl').write_text('{"case": "dqn", "ratio": {}}')
  with pytest.raises(ValueError, match=r'peers\.jsonl:1 does not say which commit'):
    read_peers(tmp_path / 'peers.jsonl')


def suite_row(**others):
  return {
    'name': 'gpt2',
    'label': 'gpt2 bf16',
    'what': 'train',
    'batch_size': 8,
    'mfu': 0.25,
    'step_ms': {'median': 20.0, 'p10': 19.0, 'p90': 22.0},
    'model_flops': 4e9,
    'speed': {},
    'per_second': {'tokens': 4096.0},
    'examples_per_second': 4.0,
    'provenance': ORIGIN,
    **others,
  }


def test_speed_is_shown_in_the_units_of_the_field_and_the_last_measurement_counts(tmp_path):
  loop = {'what': 'loop', 'per_second': {}}
  loop['speed'] = {'bare step': {'median': 0.99, 'p10': 0.98, 'p90': 1.0}}
  rows = [suite_row(mfu=0.1), suite_row(), suite_row(**loop), suite_row(error='no memory')]
  file = tmp_path / 'cpu.jsonl'
  file.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  suite = [model('gpt2', 8, 'train', 'loop', computed_in='bf16'), Target('mlp', ('train',))]
  origin = '2 cores, a cpu, jax 1, flax 2, abcdef01, 2026-01-02'
  assert speed_table(suite, read_suite(file)).splitlines()[2:] == [
    f'| `gpt2 bf16`, train | 8 | 20 (19-22) | 4,096 tokens | 200.0 | 25.0% |  | {origin} |',
    '| `gpt2 bf16`, loop | 8 | 20 (19-22) | 4 examples | 200.0 | 25.0% | +1.0% (+0.0% to +2.0%) '
    f'| {origin} |',
    '| `mlp`, train |  | not run |  |  |  |  |  |',
  ]
  assert read_suite(tmp_path / 'absent.jsonl') == {}


def test_a_peer_is_the_fastest_of_its_kind(tmp_path):
  row = {
    'case': 'lstm',
    'what': 'train LSTM',
    'threads': 2,
    'peer': 'torch',
    'provenance': ORIGIN,
    'ratio': {'median': 1.5, 'p10': 1.4, 'p90': 1.6},
    'tokens_per_second': {'zoo': 300.0, 'torch': 200.0, 'torch eager': 100.0},
  }
  file = tmp_path / 'peers.jsonl'
  file.write_text(json.dumps(row) + '\n' + json.dumps({**row, 'ratio': None, 'case': 'x'}) + '\n')
  lines = peers_table({'lstm': 'train LSTM', 'dqn': 'DQN'}, read_peers(file)).splitlines()[2:]
  assert lines[0].startswith('| train LSTM | 300 tokens/s | 200 (torch) | 1.50 (1.40-1.60) | 2 |')
  assert lines[1] == '| DQN | not run |  |  |  |  |'
