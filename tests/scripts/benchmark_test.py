import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    timeout=120,
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
  for row in rows:
    assert row['name'] == 'mlp'
    assert row['flags']['steps'] == 3
    assert row['provenance']['platform'] == 'cpu'
    assert str(tmp_path) not in json.dumps(row)


@pytest.mark.slow
def test_when_all_rows_fail_the_status_says_so():
  done = script('--model=mlp', '--parallel=pmap,sharded', '--batch_size=12', '--steps=1')
  assert done.returncode == 1
  assert done.stdout.count('failed: ') == 2


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    ([], 'give either --config=FILE or --model=NAME'),
    (['--model=mlp', '--what=trian'], "unknown --what 'trian'; did you mean 'train'?"),
    (
      ['--model=mlp', '--batch_size=8,x'],
      "--batch_size must be whole numbers of at least 1, not 'x'",
    ),
  ],
)
def test_bad_flags_are_answered_in_one_line(args, message):
  done = script(*args)
  assert done.returncode == 2
  assert done.stdout == ''
  assert len(done.stderr.splitlines()) == 1
  assert message in done.stderr
