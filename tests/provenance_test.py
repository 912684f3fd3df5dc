import datetime
import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from zoo import provenance as module
from zoo.provenance import command, provenance

ROOT = pathlib.Path(module.__file__).resolve().parent.parent


def strings(value):
  if isinstance(value, dict):
    return [s for v in value.values() for s in strings(v)]
  return [value] if isinstance(value, str) else []


def test_it_says_what_ran_and_is_json(monkeypatch):
  monkeypatch.setattr(sys, 'argv', [str(ROOT / 'scripts' / 'train.py'), '--config=configs/a.py'])
  record = provenance()
  assert json.loads(json.dumps(record)) == record
  assert record['command'] == 'python scripts/train.py --config=configs/a.py'
  assert (record['platform'], record['device_count'], record['process_count']) == ('cpu', 8, 1)
  assert record['device_kind'] == jax.devices()[0].device_kind
  assert record['versions']['jax'] == jax.__version__
  assert record['versions']['numpy'] == np.__version__
  assert record['versions']['python'] == '.'.join(map(str, sys.version_info[:3]))
  assert set(record['versions']) == {'python', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'zoo'}
  age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(record['date'])
  assert datetime.timedelta(seconds=-1) < age < datetime.timedelta(minutes=1)
  assert 1 <= record['cpu_cores'] <= (os.cpu_count() or 1) and record['cpu']


@pytest.mark.parametrize(
  ('lines', 'expected'),
  [
    (
      ['cpu family\t: 25', 'model\t\t: 17', 'model name\t: EPYC', 'flags\t\t: avx2 avx512f avx'],
      'EPYC (family 25 model 17, AVX-512)',
    ),
    (['model name\t: EPYC', 'flags\t\t: avx2x'], 'EPYC'),
    (['model name\t: Neoverse', 'Features\t: asimd'], 'Neoverse'),
  ],
)
def test_processors_of_one_name_are_told_apart(lines, expected, monkeypatch):
  monkeypatch.setattr(
    pathlib.Path, 'read_text', lambda _: '\n'.join(lines) + '\n\nprocessor\t: 1\n'
  )
  assert module._cpu_model() == expected


def test_it_holds_no_absolute_path_and_no_host_name(monkeypatch, tmp_path):
  arguments = [
    f'--workdir={tmp_path}/run',
    f'--config.data.name=folder:{tmp_path}/pets',
    sys.prefix,
  ]
  monkeypatch.setattr(sys, 'argv', [str(tmp_path / 'train.py'), *arguments])
  for text in strings(provenance()):
    assert not re.search(r'(^|[\s=:\'"])/', text), text
    assert str(tmp_path) not in text and sys.prefix not in text
    assert not re.search(rf'\b{re.escape(socket.gethostname())}\b', text)


@pytest.mark.parametrize(
  ('argument', 'expected'),
  [
    ('--workdir=/home/someone/runs/a', '--workdir=a'),
    ('/home/someone/runs/a/', 'a'),
    ('--config.data.name=folder:/data/pets', '--config.data.name=folder:pets'),
    ('--paths=/a/b,/c/d', '--paths=b,d'),
    ("--paths=('/a/b', '/c/d')", "--paths=('b', 'd')"),
    ('--workdir=/home/some one/my runs/a', '--workdir=a'),
    ('--workdir=../runs/a', '--workdir=../runs/a'),
    ('--workdir=gs://bucket/run', '--workdir=gs://bucket/run'),
    ('--url=file:///home/someone/a', '--url=file:a'),
    ('--config.optimizer.learning_rate=1e-3', '--config.optimizer.learning_rate=1e-3'),
    ('--split=train[:90%]', '--split=train[:90%]'),
    ('--ratio=1/2', '--ratio=1/2'),
    (f'--config={ROOT}/configs/a.py', '--config=configs/a.py'),
    (f'--config={ROOT}/../elsewhere/a.py', '--config=a.py'),
  ],
)
def test_paths_in_arguments_become_relative(argument, expected):
  # shlex quotes an argument that needs it; a reader's shell takes the quotes off again
  quoted = command(['/x/train.py', argument])
  assert quoted.startswith('python train.py ')
  assert module.shlex.split(quoted)[2:] == [expected]


def test_program_below_the_source_tree_is_relative_to_it(monkeypatch):
  monkeypatch.chdir(ROOT / 'zoo')
  assert command(['../scripts/train.py']) == 'python scripts/train.py'
  assert command(['']) == command([]) == 'python -'


def git(directory, *arguments):
  who = ['-c', 'user.name=a', '-c', 'user.email=a@b.c', '-c', 'commit.gpgsign=false']
  line = ['git', *who, '-C', str(directory), *arguments]
  # Without what a hook sets, for that would send these commits to the repository of the hook.
  clean = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')}
  run = subprocess.run(line, check=True, capture_output=True, text=True, env=clean)
  return run.stdout.strip()


def test_the_commit_is_that_of_the_source_tree_and_of_no_other(tmp_path, monkeypatch):
  assert module._git(tmp_path) == (None, None)
  git(tmp_path, 'init', '-q')
  assert module._git(tmp_path) == (None, None)  # no commit yet
  (tmp_path / 'a').write_text('1')
  git(tmp_path, 'add', 'a')
  git(tmp_path, 'commit', '-q', '-m', 'a')
  commit = git(tmp_path, 'rev-parse', 'HEAD')
  assert module._git(tmp_path) == (commit, False)
  monkeypatch.setenv('GIT_DIR', str(tmp_path / 'elsewhere'))  # as inside a git hook
  assert module._git(tmp_path) == (commit, False)
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs' / 'metrics.jsonl').write_text('')  # untracked: what a run writes
  assert module._git(tmp_path) == (commit, False)
  (tmp_path / 'a').write_text('2')
  assert module._git(tmp_path) == (commit, True)
  assert module._git(tmp_path / 'runs') == (None, None)  # an environment inside a repository


def test_without_git_or_an_installed_distribution_there_is_none(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert module._git(ROOT) == (None, None)
  assert module._version('no-such-distribution') is None
