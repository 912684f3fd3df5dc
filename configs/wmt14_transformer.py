"""The Transformer of Vaswani et al. on WMT 2014, English to German; `:big` for the large one.

Source: Vaswani et al. 2017, Attention Is All You Need, sections 5.3 and 5.4: Adam with b2 = 0.98,
4000 steps of warm-up, smoothing 0.1, dropout 0.1 (big: 0.3), averaged weights. The vocabulary of
37000 is theirs too; a batch holds 850 pairs, about their 25000 tokens of each language.
Command: python scripts/train.py --config=configs/wmt14_transformer.py --workdir=runs/wmt14
Hardware: 8 GPUs; prepare the data first: python -m zoo.data.tfds wmt14_translate/de-en
Expected: not run here; the paper reports BLEU 27.3 (big: 28.4) for English to German.
"""

from ml_collections import ConfigDict


def get_config(size: str = 'base') -> ConfigDict:
  """The config of a size, 'base' or 'big'."""
  if size not in ('base', 'big'):
    raise ValueError(f"config wmt14_transformer.py has sizes 'base' and 'big', not {size!r}")
  return ConfigDict(
    {
      'model': {
        'name': 'transformer' if size == 'base' else 'transformer_big',
        'dtype': 'bfloat16',
      },
      'objective': {
        'name': 'seq2seq',
        'label_smoothing': 0.1,
        'exact_match': False,
        'ema_decay': 0.9999,
        'ema_warmup': True,
      },
      'data': {
        'loader': 'text',
        'name': 'wmt14_translate/de-en',
        'train': 'train',
        'validation': 'validation',
        'test': 'test',
        'source_key': 'en',
        'target_key': 'de',
        'tokenizer': 'bpe',
        'vocab_size': 37000,
        'length': 128,
        'target_length': 128,
        'batch_size': 848,
        'eval_batch_size': 128,
        'on_device': False,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 7e-4 if size == 'base' else 5e-4,
        'schedule': 'rsqrt',
        'warmup_steps': 4000,
        'b1': 0.9,
        'b2': 0.98,
        'eps': 1e-9,
      },
      'train': {
        'steps': 100000 if size == 'base' else 300000,
        'log_every': 100,
        'eval_every': 5000,
        'preview_every': 10000,
        'checkpoint_every': 5000,
        'best': 'loss',
        'best_mode': 'min',
      },
    }
  )
