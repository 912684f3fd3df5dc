import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts import command

ROOT = Path(__file__).resolve().parents[2]

# What a machine that only measures models may lack.
BLOCKED = (
  *('grain', 'tensorflow_datasets', 'array_record', 'orbax', 'sklearn', 'PIL', 'matplotlib'),
  *('tensorboardX', 'tqdm', 'tensorflow', 'chex'),
)
RUNNER = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({BLOCKED!r}))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def script(*args, code=None):
  start = ['-c', code] if code else []
  return subprocess.run(
    [sys.executable, *start, 'scripts/benchmark.py', *args],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.mark.slow
def test_a_model_needs_no_data_backend_and_a_failing_row_leaves_the_others(tmp_path):
  file = tmp_path / 'rows.jsonl'
  done = script(
    *('--model=mlp', '--parallel=pmap', '--batch_size=12,8', '--steps=3', f'--json={file}'),
    code=RUNNER,
  )
  assert done.returncode == 0, done.stderr
  rows = [json.loads(line) for line in file.read_text().splitlines()]
  assert [(r['parallel'], r['batch_size'], 'error' in r) for r in rows] == [
    *(('pmap', 12, True), ('pmap', 8, False))
  ]
  assert rows[0]['error'] == 'a batch of 12 cannot be divided among 8 devices'
  assert 'failed: a batch of 12 cannot be divided among 8 devices' in done.stdout
  assert len(done.stdout.splitlines()) == 1 + len(rows)
  assert rows[1]['mfu'] > 0 and rows[1]['warm_compile_seconds'] > 0
  for row in rows:
    assert row['name'] == 'mlp'
    assert row['flags']['steps'] == 3
    assert row['provenance']['platform'] == 'cpu'
    assert str(tmp_path) not in json.dumps(row)


@pytest.mark.slow
def test_a_config_needs_no_data_backend_where_random_arrays_stand_in(tmp_path):
  file = tmp_path / 'rows.jsonl'
  done = script(
    *('--config=configs/cifar10_cnn.py', '--synthetic', '--batch_size=8', '--steps=2'),
    *('--what=train,loop', f'--json={file}'),
    code=RUNNER,
  )
  assert done.returncode == 0, done.stderr
  rows = [json.loads(line) for line in file.read_text().splitlines()]
  assert {row['what'] for row in rows} == {'train', 'bare step', 'loop'}
  assert all(row['label'] == 'cifar10_cnn synthetic' for row in rows)


@pytest.mark.slow
def test_when_all_rows_fail_the_status_says_so():
  done = script('--model=mlp', '--parallel=pmap,sharded', '--batch_size=12', '--steps=1')
  assert done.returncode == 1
  assert done.stdout.count('failed: ') == 2


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    ([], 'give one of --config=FILE, --model=NAME and --suite=NAME'),
    (['--model=mlp', '--suite=cpu'], 'give one of --config=FILE, --model=NAME and --suite=NAME'),
    (['--suite=cpu', '--what=loop'], '--suite says what is measured: --what has no use'),
    (['--model=mlp', '--scaling', '--parallel=jit'], '--scaling is of pmap and sharded'),
    (['--model=mlp', '--verify', '--json=x'], 'measure no rows: --json has no use'),
    (['--model=mlp', '--synthetic'], '--synthetic is for --config'),
    (
      ['--config=configs/digits_mlp.py', '--what=input', '--synthetic'],
      '--what=input is of real data',
    ),
    (['--suite=gpu'], '--suite=gpu needs a GPU; JAX finds only a CPU'),
    (['--model=mlp', '--dtype=f16'], "unknown --dtype 'f16'; did you mean 'bf16'?"),
    (['--model=mlp', '--compare=absent.jsonl'], 'absent.jsonl cannot be read'),
    (['--model=mlp', '--verify', '--scaling'], 'give one of --profile, --verify and --scaling'),
    (['--model=mlp', '--what=trian'], "unknown --what 'trian'; did you mean 'train'?"),
    (
      ['--model=mlp', '--batch_size=8,x'],
      "--batch_size must be whole numbers of at least 1, not 'x'",
    ),
  ],
)
def test_bad_flags_are_answered_in_one_line(args, message):
  assert message in command.refusal(command.run('benchmark', *args))


@pytest.mark.slow
def test_a_regression_is_told_by_the_status_and_a_failing_comparison_keeps_the_rows(tmp_path):
  file, doctored = tmp_path / 'rows.jsonl', tmp_path / 'doctored.jsonl'
  arguments = ('--model=mlp', '--parallel=jit', '--batch_size=8', '--steps=20')
  done = script(*arguments, f'--json={file}')
  assert done.returncode == 0, done.stderr
  [row] = [json.loads(line) for line in file.read_text().splitlines()]
  faster = {name: value / 1000 for name, value in row['step_ms'].items()}
  doctored.write_text(json.dumps(row | {'step_ms': faster}))
  done = script(*arguments, f'--compare={doctored}')
  assert done.returncode == 1 and 'SLOWER' in done.stdout
  slower = {name: value * 1000 for name, value in row['step_ms'].items()}
  doctored.write_text(json.dumps(row | {'step_ms': slower}))
  assert script(*arguments, f'--compare={doctored}').returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
  'arguments',
  [
    ['--config=configs/digits_mlp.py'],
    # Its augmentation has collectives that need not wait for each other, and so must not.
    ['--config=configs/cifar10_cnn.py', '--synthetic', '--batch_size=8', '--steps=2'],
  ],
)
def test_strategies_of_a_config_are_verified(arguments):
  done = script(*arguments, '--verify')
  assert done.returncode == 0, done.stderr
  assert done.stdout.count('agrees with') == 2 and 'DIFFERS' not in done.stdout


@pytest.mark.slow
def test_a_profile_says_where_time_goes(tmp_path):
  done = script('--model=mlp', '--parallel=jit', '--batch_size=8', f'--profile={tmp_path}')
  assert done.returncode == 0, done.stderr
  assert 'matmul' in done.stdout and list(tmp_path.rglob('*.xplane.pb'))
