"""A killed run of every family goes on, from its own config, as if nothing had been."""

import signal

import pytest

from tests.scripts import command
from tests.scripts.kills import killed_again_and_again

pytestmark = pytest.mark.slow

TRAIN = {
  'steps': 80,
  'log_every': 4,
  'eval_every': 20,
  'preview_every': 40,
  'checkpoint_every': 4,
}
DIGITS = {
  'data': {'train': 'train[:250]', 'validation': 'train[250:290]', 'test': 'test[:40]'}
  | {'batch_size': 16, 'eval_batch_size': 16},
}
MLP = DIGITS | {'model': {'widths': (8,)}}
CNN = DIGITS | {'model': {'widths': (4,)}}
TEXT = {
  'data': {'train': 'train[:5%]', 'validation': 'validation[:50%]', 'test': 'test[:50%]'}
  | {'length': 32, 'batch_size': 8, 'eval_batch_size': 16},
}
GPT = TEXT | {
  'model': {'context_length': 32, 'num_layers': 1, 'width': 16, 'num_heads': 2, 'dropout': 0.1}
}
# A digits_cnn, which others judge by, learn from or start from.
EARLIER = (
  CNN
  | {'model': {'widths': (4,), 'norm': 'group'}, 'train': {'steps': 4}}
  | {'optimizer': {'warmup_steps': 0}}
)

# By name: a config, what its argument in front is, and what makes a case of seconds of it. What is
# random stays on, so that its keys are part of what is compared.
CASES = {
  'anomaly': ('digits_anomaly', ':3', MLP | {'model': {'widths': (8,), 'latent': 4}}),
  'classifier': ('digits_mlp', '', MLP | {'objective': {'ema_decay': 0.9}}),
  'clustering': ('digits_clustering', '', MLP),
  'distillation': ('digits_distill', ':EARLIER', MLP),
  'fixmatch': (
    'digits_fixmatch',
    '',
    CNN | {'data': DIGITS['data'] | {'batch_size': 4, 'unlabeled_ratio': 2}},
  ),
  'gan': ('digits_gan', ':EARLIER', DIGITS | {'model': {'width': 4}}),
  'gpt': ('pydocs_gpt_char', '', GPT),
  'lora': (
    'digits_mlp',
    '',
    MLP | {'objective': {'lora_rank': 2, 'lora_full': ('head/.*',), 'ema_decay': 0.9}},
  ),
  'lstm': ('pydocs_lstm', '', TEXT | {'model': {'width': 16, 'embedding_width': 8}}),
  'restoration': (
    'photos_restoration',
    ':denoise',
    {'model': {'widths': (4, 8)}, 'data': {'batch_size': 2, 'eval_batch_size': 4}},
  ),
  'rnn_classifier': ('digits_lstm', '', DIGITS | {'model': {'width': 8}}),
  'seeds': ('digits_mlp', '', MLP | {'train': {'seeds': 2}}),
  'simclr': ('digits_simclr', '', CNN),
  'sparsity': (
    'digits_mlp',
    '',
    MLP | {'optimizer': {'sparsity': 0.7, 'sparsity_begin': 10, 'sparsity_every': 3}},
  ),
  'transfer': (
    'digits_transfer',
    ':EARLIER',
    CNN
    | {'data': {'train': 'train', 'validation': 'test[:50%]', 'test': 'test[50%:]'}}
    | {'optimizer': {'groups': (('Conv_0/.*', {'learning_rate_multiplier': 0.1}),)}},
  ),
  'transformer': (
    'dates_transformer',
    '',
    {
      'model': {'encoder_layers': 1, 'decoder_layers': 1, 'width': 16, 'num_heads': 2}
      | {'ffn_width': 16, 'dropout': 0.1},
      'data': {'train': 'train[:5%]', 'validation': 'validation[:50%]', 'test': 'test[:50%]'}
      | {'batch_size': 16, 'eval_batch_size': 32},
    },
  ),
  'vae': ('digits_vae', '', DIGITS | {'model': {'latent_size': 4, 'widths': (4, 8)}}),
}
# Configs of several steps in one dispatch; fewer here, as the intervals are multiples of them.
IN_ONE_DISPATCH = ('digits_anomaly', 'digits_clustering', 'digits_mlp')


def overrides(sections):
  """The flags that set options."""
  return [
    f'--config.{section}.{option}={value}'
    for section, options in sections.items()
    for option, value in options.items()
  ]


def arguments(name, argument, sections):
  """Of train.py, but for the run directory: a config of configs/, and what is changed of it."""
  return [f'--config={command.ROOT / "configs" / name}.py{argument}', *overrides(sections)]


def an_earlier_run():
  """A short run of a classifier, for all tests of a session."""
  with command.alone(command.home() / 'digits_cnn') as workdir:
    if not (workdir / 'summary.json').exists():
      command.train_to_end(workdir, *arguments('digits_cnn', '', EARLIER))
  return workdir


@pytest.mark.parametrize('name', CASES)
def test_a_killed_run_ends_the_same(name, tmp_path):
  config, argument, sections = CASES[name]
  if argument == ':EARLIER':
    argument = f':{an_earlier_run()}'
  calls = {'steps_per_call': 4} if config in IN_ONE_DISPATCH else {}
  sections = sections | {'train': TRAIN | calls | sections.get('train', {})}
  sections['optimizer'] = {'warmup_steps': 8} | sections.get('optimizer', {})
  args = arguments(config, argument, sections)
  command.train_to_end(tmp_path / 'straight', *args)
  codes = killed_again_and_again(tmp_path / 'killed', 2, 0, *args)
  assert codes == [-signal.SIGKILL] * 2
  command.assert_same_run(tmp_path / 'killed', tmp_path / 'straight')
