"""A small GPT on CPython's own documentation, character by character (no download).

Source: the text that `help()` prints for topics, which ships with Python. The model: Radford et al.
2019. The optimiser: Jordan et al. 2024 (Muon).
Command: python scripts/train.py --config=configs/pydocs_gpt_char.py --workdir=runs/pydocs_gpt_char
Hardware: 2 CPU cores (AMD EPYC), 5 minutes.
Expected: validation 1.815 bits per byte (0.009 standard deviation over 3 seeds), in 3 min 24 s.
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
        'dropout': 0.0,
      },
      'objective': {'name': 'language_model'},
      'data': {
        'loader': 'text',
        'name': 'pydocs',
        'train': 'train',
        'validation': 'validation',
        'test': 'test',
        'tokenizer': 'char',
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
        'steps': 1000,
        'log_every': 50,
        'eval_every': 500,
        'preview_every': 500,
        'checkpoint_every': 500,
        'best': 'bits_per_byte',
        'best_mode': 'min',
      },
    }
  )
