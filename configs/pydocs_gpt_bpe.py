"""A small GPT on CPython's own documentation, in pieces of words learned from it (no download).

Source: as configs/pydocs_gpt_char.py; the pieces: Sennrich et al. 2016, byte-level as in GPT-2.
Command: python scripts/train.py --config=configs/pydocs_gpt_bpe.py --workdir=runs/pydocs_gpt_bpe
Hardware: 2 CPU cores (AMD EPYC).
Expected: not yet measured.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'gpt2',
        'context_length': 128,
        'num_layers': 4,
        'width': 192,
        'num_heads': 4,
        'dropout': 0.1,
      },
      'objective': {'name': 'language_model'},
      'data': {
        'loader': 'text',
        'name': 'pydocs',
        'train': 'train',
        'validation': 'validation',
        'test': 'test',
        'tokenizer': 'bpe',
        'vocab_size': 1024,
        'length': 128,
        'batch_size': 16,
        'eval_batch_size': 64,
      },
      'optimizer': {
        'name': 'muon',
        'learning_rate': 3e-3,
        'schedule': 'linear',
        'warmup_steps': 50,
        'weight_decay': 0.1,
        'clip_norm': 1.0,
      },
      'train': {
        'steps': 1200,
        'log_every': 50,
        'eval_every': 300,
        'preview_every': 600,
        'checkpoint_every': 300,
        'best': 'bits_per_byte',
        'best_mode': 'min',
      },
    }
  )
