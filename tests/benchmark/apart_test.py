import pytest

from tests.scripts import command
from zoo.benchmark import apart, requests

SCRIPT = str(command.ROOT / 'scripts' / 'benchmark.py')
MLP = str(command.ROOT / 'configs' / 'digits_mlp.py')

KILLED = """
import json, os, sys
[path] = [flag.partition('=')[2] for flag in sys.argv if flag.startswith('--json=')]
with open(path, 'w') as file:
  print(json.dumps({'what': 'train'}), file=file)
os.kill(os.getpid(), 9)
"""


def request(*overrides, what=('train',), strategies=(None,)):
  made = requests.of_config(MLP, overrides, what, (None,), (None,), strategies)
  return made._replace(label='the mlp')


def test_the_command_asks_for_what_the_request_does():
  asked = request('--config.data.batch_size=8', what=('train', 'loop'), strategies=('jit',))
  assert apart.command(SCRIPT, asked, ['--steps=3'])[1:] == [
    *(SCRIPT, f'--config={MLP}', '--config.data.batch_size=8', '--what=train,loop'),
    *('--parallel=jit', '--steps=3'),
  ]


@pytest.mark.slow
def test_rows_come_from_a_process_with_the_threads_that_the_config_asks_for():
  asked = request(f'--config.data.dir={command.home() / "tfds"}', strategies=('jit',))
  assert asked.cpu_threads == 1
  [row] = apart.measured(SCRIPT, asked, ['--steps=3'])
  assert row['label'] == 'the mlp' and row['batch_size'] == 64
  assert '--config=configs/digits_mlp.py' in row['provenance']['command']


@pytest.mark.slow
def test_a_process_that_measures_nothing_is_a_row_that_says_why():
  [row] = apart.measured(SCRIPT, request(strategies=('jti',)), ['--steps=3'])
  assert "unknown --parallel 'jti'; did you mean 'jit'" in row['error']


def test_a_killed_process_loses_no_row_and_says_so(tmp_path):
  script = tmp_path / 'killed.py'
  script.write_text(KILLED)
  first, second = apart.measured(str(script), request(), [])
  assert first == {'what': 'train', 'label': 'the mlp'}
  assert second['error'] == 'its process ended with status -9'
