import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.scripts import command
from zoo.beam import beam_search
from zoo.data.tokenizers import ByteTokenizer, CharTokenizer
from zoo.generate import generate
from zoo.interop import hub
from zoo.models.gpt2 import GPT2
from zoo.models.transformer import Transformer

TOKENIZER = ByteTokenizer()
MODULE = GPT2(vocab_size=260, context_length=32, num_layers=1, width=16, num_heads=2)
TRANSLATOR = Transformer(
  vocab_size=260,
  pad_id=TOKENIZER.pad_id,
  bos_id=TOKENIZER.bos_id,
  eos_id=TOKENIZER.eos_id,
  max_length=12,
  encoder_layers=1,
  decoder_layers=1,
  width=16,
  num_heads=2,
  ffn_width=32,
)
RUN = """
from ml_collections import ConfigDict


def get_config():
  return ConfigDict({{
    'model': {{
      'name': 'gpt2', 'context_length': 16, 'num_layers': 1, 'width': 16, 'num_heads': 2,
    }},
    'objective': {{'name': 'language_model', 'ema_decay': 0.9}},
    'data': {{
      'loader': 'text', 'name': 'text:{}', 'tokenizer': 'char', 'length': 16, 'batch_size': 4,
      'train': 'train[:80%]', 'validation': 'train[80%:]', 'test': '',
    }},
    'optimizer': {{'name': 'adam', 'learning_rate': 1e-2}},
    'train': {{'steps': 3, 'log_every': 3}},
  }})
"""


def params_of(module, *inputs):
  params = jax.jit(module.init)(jax.random.key(0), *inputs)['params']
  return jax.tree.map(lambda x: 3 * x, params)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('gpt2')
  params = params_of(MODULE, jnp.zeros((1, 1), jnp.int32))
  hub.save_pretrained(folder, MODULE, {'params': params}, TOKENIZER)
  return folder


def output(*args):
  done = command.run('generate', *args)
  assert done.returncode == 0, done.stderr
  assert not done.stderr
  return done.stdout


@pytest.mark.slow
def test_one_continuation_is_printed_as_it_comes_with_the_speed(folder):
  text = output(f'--from={folder}', '--prompt=abc', '--max_new_tokens=20', '--temperature=0')
  params = hub.load_pretrained(folder)[1]['params']
  (tokens,) = generate(MODULE, params, [list(b'abc')], max_new_tokens=20, temperature=0)[0]
  shown, speed = text[: text.rindex('\n\n')], text.splitlines()[-1]
  assert shown == 'abc' + TOKENIZER.decode(tokens)
  assert speed.startswith('20 tokens, ')
  assert 'tokens/s (and ' in speed


@pytest.mark.slow
def test_several_continuations_in_json(folder, tmp_path):
  (tmp_path / 'prompts').write_text('xy\nz\n')
  flags = (f'--from={folder}', '--prompt=abc', f'--prompts_file={tmp_path / "prompts"}')
  options = {'max_new_tokens': 6, 'num_samples': 2, 'temperature': 0.7, 'top_k': 50}
  options |= {'top_p': 0.9, 'repetition_penalty': 1.2}
  report = json.loads(
    output(*flags, '--json', '--seed=3', *(f'--{k}={v}' for k, v in options.items()))
  )
  prompts = [result['prompt'] for result in report['results']]
  assert prompts == ['abc', 'xy', 'z']
  expected = generate(
    *(MODULE, hub.load_pretrained(folder)[1]['params'], [list(p.encode()) for p in prompts]),
    key=jax.random.key(3),
    eos_id=TOKENIZER.eos_id,
    **options,
  )
  found = [[o['tokens'] for o in result['outputs']] for result in report['results']]
  assert found == expected
  assert report['tokens'] == sum(len(t) for samples in expected for t in samples)
  assert report['tokens_per_second'] > 0
  assert report['compile_seconds'] > 0


@pytest.mark.slow
def test_a_source_is_translated_by_beam_search(tmp_path):
  source = jnp.zeros((1, 1), jnp.int32)
  params = params_of(TRANSLATOR, source, source)
  hub.save_pretrained(tmp_path, TRANSLATOR, {'params': params}, TOKENIZER)
  flags = (f'--from={tmp_path}', '--prompt=ab', '--prompt=hello', '--beam_size=3', '--json')
  report = json.loads(output(*flags, '--max_new_tokens=8'))
  rows = [[*text.encode(), TOKENIZER.eos_id] for text in ('ab', 'hello')]
  padded = np.array([r + [TOKENIZER.pad_id] * (6 - len(r)) for r in rows], np.int32)
  tokens, scores = beam_search(
    TRANSLATOR, params, padded, beam_size=3, length_penalty=0.6, max_length=8
  )
  for i, result in enumerate(report['results']):
    for found, row, score in zip(result['outputs'], tokens[i], scores[i], strict=True):
      assert found['tokens'] == [t for t in row.tolist() if t != TOKENIZER.pad_id]
      np.testing.assert_allclose(found['score'], score, rtol=1e-4)
  done = command.run('generate', f'--from={tmp_path}', '--prompt=0123456789ab')
  assert 'prompt 0 has 13 tokens, more than the context of 12' in command.refusal(done)
  done = command.run('generate', f'--from={tmp_path}', '--prompt=a', '--top_k=3')
  assert '--top_k means nothing for a translation' in command.refusal(done)


@pytest.mark.slow
def test_a_run_continues_a_prompt(tmp_path):
  (tmp_path / 'text').write_text('the quick brown fox jumps over the lazy dog. ' * 20)
  (tmp_path / 'config.py').write_text(RUN.format(tmp_path / 'text'))
  workdir = tmp_path / 'run'
  command.train_to_end(workdir, f'--config={tmp_path / "config.py"}')
  text = output(f'--workdir={workdir}', '--prompt=the ', '--max_new_tokens=5')
  assert text.startswith('the ')


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--prompt='], 'prompt 0 is empty'),
    ([], 'there is no prompt: give --prompt or --prompts_file'),
    (['--prompt=' + 33 * 'a'], 'prompt 0 has 33 tokens, more than the context of 32'),
    (['--prompt=' + 30 * 'a', '--max_new_tokens=3'], 'longer than the context of 32'),
    (['--prompt=a', '--temperature=-1'], 'temperature must be at least 0, not -1.0'),
    (['--prompt=a', '--top_p=0'], 'top_p must be in (0, 1], not 0.0'),
    (['--prompt=a', '--max_new_tokens=0'], '--max_new_tokens must be at least 1, not 0'),
    (['--prompt=a', '--beam_size=2'], '--beam_size means nothing for a continuation'),
    (['--prompt=a', '--workdir=x'], 'give either --workdir or --from'),
    (['abc'], "'abc' is no flag; a prompt is given as --prompt=..."),
  ],
)
def test_bad_input_is_one_line(folder, args, message):
  options = [] if any('max_new' in a for a in args) else ['--max_new_tokens=1']
  done = command.run('generate', f'--from={folder}', *args, *options)
  assert message in command.refusal(done)


def test_a_tokenizer_that_does_not_match_is_refused(folder, tmp_path):
  params = hub.load_pretrained(folder)[1]['params']
  hub.save_pretrained(tmp_path, MODULE, {'params': params}, TOKENIZER)
  CharTokenizer(''.join(map(chr, range(300)))).save(tmp_path)
  done = command.run('generate', f'--from={tmp_path}', '--prompt=a')
  assert 'the tokenizer has 305 tokens, the model 260' in command.refusal(done)


def test_a_run_that_is_no_language_model_is_refused():
  done = command.run('generate', f'--workdir={command.finished()}', '--prompt=a')
  assert 'holds a MLP, which generates no text' in command.refusal(done)


def test_a_file_of_prompts_that_is_not_utf8_is_refused(folder, tmp_path):
  (tmp_path / 'prompts').write_bytes(b'ab\xff')
  done = command.run('generate', f'--from={folder}', f'--prompts_file={tmp_path / "prompts"}')
  assert 'prompts is not UTF-8: invalid start byte at byte 2' in command.refusal(done)
