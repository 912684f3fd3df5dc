"""What can be said of comparing without the peers: bad input, and what a row says."""

import importlib.util
import sys

import pytest

from tests.scripts import command


@pytest.fixture(scope='module')
def peers():
  folder = command.ROOT / 'scripts'
  sys.path.insert(0, str(folder))
  spec = importlib.util.spec_from_file_location('zoo_peers', folder / 'peers.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  yield module
  sys.path.remove(str(folder))


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--cases=gpt_f23', "'gpt_f23'; did you mean 'gpt_f32'?"),
    ('--rounds=0', '--rounds'),
    ('--peer_python=/no/such/python', '--peer_python=/no/such/python: No such file'),
  ],
)
def test_bad_input(flag, words):
  assert words in command.refusal(command.run('peers', flag))


def test_everyone_decodes_with_the_weights_of_a_published_layout(peers):
  from contestants.cases import GPT, Decode, zoo_decode

  size = GPT(11, 16, num_layers=1, width=8, num_heads=2, batch_size=0, length=0)
  call = zoo_decode(Decode(size, batch_size=2, prompt_length=3, new_tokens=4))
  tokens = call()
  assert [len(row) for row in tokens] == [4, 4] and tokens == call()


def test_a_row_names_the_best_peer_and_who_is_missing(peers):
  row = {
    'case': 'x',
    'what': 'train X',
    'peer': 'torch eager',
    'ratio': {'median': 1.5, 'p10': 1.4, 'p90': 1.6},
    'tokens_per_second': {'zoo': 1500.0, 'torch eager': 1000.0},
    'agree': False,
    'failed': {'torch.compile': 'no compiler'},
  }
  text = peers.describe(row)
  assert text.startswith('train X: 1.50 (1.40-1.60) times torch eager; tokens/s: zoo 1,500')
  assert 'OTHER TOKENS' in text and text.endswith('no torch.compile: no compiler')
