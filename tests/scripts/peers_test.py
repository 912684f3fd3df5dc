"""What can be said of comparing without the peers: bad input, and that all decode alike."""

import pytest

from tests.scripts import command


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--cases=gpt_f23', "'gpt_f23'; did you mean 'gpt_f32'?"),
    ('--rounds=0', '--rounds'),
    ('--cases=gpt2_long', '--cases=gpt2_long is for an accelerator, and JAX finds only a CPU'),
    ('--peer_python=/no/such/python', '--peer_python=/no/such/python: No such file'),
  ],
)
def test_bad_input(flag, words):
  assert words in command.refusal(command.run('peers', flag))


def test_everyone_decodes_with_the_weights_of_a_published_layout(monkeypatch):
  monkeypatch.syspath_prepend(str(command.ROOT / 'scripts'))
  from contestants.language import GPT, Decode, zoo_decode

  size = GPT(11, 16, num_layers=1, width=8, num_heads=2, batch_size=0, length=0)
  call = zoo_decode(Decode(size, batch_size=2, prompt_length=3, new_tokens=4))
  tokens = call()
  assert [len(row) for row in tokens] == [4, 4] and tokens == call()
