"""Language through the scripts, as a person uses it: train, kill, go on, generate, fine-tune."""

import functools
import json
import shutil

import pytest

from tests.scripts import command

CONFIG = """
from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
    'model': {
      'name': 'gpt2', 'context_length': 32, 'num_layers': 1, 'width': 16, 'num_heads': 2,
      'dropout': 0.1,
    },
    'objective': {'name': 'language_model', 'ema_decay': 0.9},
    'data': {
      'loader': 'text', 'name': 'text:PATH', 'train': 'train[:80%]', 'validation': 'train[80%:]',
      'tokenizer': 'char', 'length': 16, 'batch_size': 8,
    },
    'optimizer': {'name': 'adamw', 'learning_rate': 1e-2},
    'train': {
      'steps': 60, 'log_every': 5, 'eval_every': 20, 'preview_every': 30, 'checkpoint_every': 10,
      'best': 'bits_per_byte', 'best_mode': 'min',
    },
  })
"""
LINES = [f'the {a} {b} runs\n' for a in ('old', 'new', 'red') for b in ('dog', 'cat', 'fox')]


@functools.cache
def config():
  folder = command.home()
  (folder / 'corpus.txt').write_text(''.join(LINES * 12))
  path = folder / 'gpt.py'
  path.write_text(CONFIG.replace('PATH', str(folder / 'corpus.txt')))
  return path


@functools.cache
def finished():
  workdir = command.home() / 'gpt'
  command.train_to_end(workdir, f'--config={config()}')
  return workdir


@pytest.mark.slow
def test_a_run_leaves_its_tokenizer_its_samples_and_bits_per_byte():
  summary = json.loads((finished() / 'summary.json').read_text())
  assert 0 < summary['metrics']['validation']['bits_per_byte'] < 8
  assert (finished() / 'tokenizer.json').exists()
  names = sorted(path.name for path in (finished() / 'previews').iterdir())
  assert names == ['samples_00000030.txt', 'samples_00000060.txt']


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
  workdir = tmp_path / 'killed'
  shutil.copytree(finished(), workdir)
  (workdir / 'summary.json').unlink()
  shutil.rmtree(workdir / 'checkpoints' / '60')
  assert 'going on from step 50' in command.train_to_end(workdir, f'--config={config()}')
  command.assert_same_run(workdir, finished())


@pytest.mark.slow
def test_what_is_generated_continues_the_prompt_and_repeats_with_its_seed():
  args = (f'--workdir={finished()}', '--prompt=the old', '--max_new_tokens=12', '--seed=3')
  first, again = command.run('generate', *args), command.run('generate', *args)
  assert first.returncode == 0, first.stderr
  assert 'the old' in first.stdout and 'tokens/s' in first.stdout + first.stderr
  assert first.stdout.splitlines()[0] == again.stdout.splitlines()[0]


@pytest.mark.slow  # as all that need the run
@pytest.mark.parametrize(
  ('flags', 'named'),
  [
    (['--prompt='], 'empty'),
    (['--prompt=' + 'the old dog runs ' * 3], 'context'),
    (['--prompt=the', '--temperature=-1'], 'temperature'),
    (['--prompt=the', '--top_p=0'], 'top_p'),
  ],
)
def test_a_prompt_that_cannot_be_is_refused(flags, named):
  done = command.run('generate', f'--workdir={finished()}', *flags)
  assert named in command.refusal(done)


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another(tmp_path):
  args = (f'--config={config()}', f'--config.train.init_from={finished()}')
  again = command.train_to_end(
    *(tmp_path / 'again', *args, '--config.train.steps=1', '--config.train.checkpoint_every=1'),
    *('--config.train.eval_every=1', '--config.optimizer.learning_rate=0.0'),
  )
  assert 'complete' in again
  before, after = (
    json.loads((workdir / 'summary.json').read_text())['metrics']['validation']
    for workdir in (finished(), tmp_path / 'again')
  )
  assert after == pytest.approx(before, rel=1e-5)


@pytest.mark.slow
def test_weights_that_do_not_fit_are_listed(tmp_path):
  done = command.train(
    *(tmp_path / 'other', f'--config={config()}', f'--config.train.init_from={finished()}'),
    '--config.model.width=32',
  )
  assert 'blocks_0/mlp_in/kernel is [16, 64], not [32, 128]' in command.refusal(done)


@pytest.mark.slow
def test_weights_that_were_made_with_another_tokenizer_are_refused(tmp_path):
  done = command.train(
    *(tmp_path / 'other', f'--config={config()}', f'--config.train.init_from={finished()}'),
    '--config.data.tokenizer=byte',
  )
  assert 'was made with another tokenizer' in command.refusal(done)


@pytest.mark.slow
def test_adapters_alone_are_trained_and_used(tmp_path):
  args = (f'--config={config()}', f'--config.train.init_from={finished()}')
  lora = ('--config.objective.lora_rank=2', "--config.objective.lora_targets=('blocks_.*kernel',)")
  command.train_to_end(tmp_path / 'lora', *args, *lora)
  summary = json.loads((tmp_path / 'lora' / 'summary.json').read_text())
  # Four kernels of one block: in + out of qkv, attention_out, mlp_in and mlp_out, times the rank.
  assert summary['parameters'] == 2 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))
  done = command.run(
    'generate', f'--workdir={tmp_path / "lora"}', '--prompt=the', '--max_new_tokens=4'
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  ('content', 'named'),
  [(b'', 'corpus.txt'), (b'too short', 'window'), (b'good \xff bad' * 100, 'byte')],
)
def test_a_corpus_that_cannot_be_is_named(tmp_path, content, named):
  (tmp_path / 'corpus.txt').write_bytes(content)
  done = command.train(
    *(tmp_path / 'run', f'--config={config()}'),
    f'--config.data.name=text:{tmp_path / "corpus.txt"}',
  )
  assert named in command.refusal(done)
