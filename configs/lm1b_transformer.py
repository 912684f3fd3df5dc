"""A causal Transformer on the One Billion Word Benchmark, at the size of the Flax example.

Source: Chelba et al. 2014, One Billion Word Benchmark; the sizes: flax/examples/lm1b (6 layers of
512, 8 heads, 30k pieces of words, 128 tokens).
Command: python scripts/train.py --config=configs/lm1b_transformer.py --workdir=runs/lm1b
Hardware: a TPU or GPUs; prepare the data first: python -m zoo.data.tfds lm1b
Expected: not run here; the Flax example reports a loss of 3.127.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'gpt2',
        'context_length': 128,
        'num_layers': 6,
        'width': 512,
        'num_heads': 8,
        'vocab_multiple': 128,
        'dropout': 0.1,
        'dtype': 'bfloat16',
      },
      'objective': {'name': 'language_model'},
      'data': {
        'loader': 'text',
        'name': 'lm1b',
        'train': 'train',
        'validation': 'test[:50%]',
        'test': 'test[50%:]',
        'tokenizer': 'bpe',
        'vocab_size': 30000,
        'length': 128,
        'packing': True,
        'batch_size': 256,
        'on_device': False,
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 1.6e-3,
        'schedule': 'rsqrt',
        'warmup_steps': 1000,
        'weight_decay': 0.1,
        'b2': 0.98,
        'clip_norm': 1.0,
      },
      'train': {
        'steps': 500000,
        'log_every': 100,
        'eval_every': 5000,
        'preview_every': 25000,
        'checkpoint_every': 5000,
        'best': 'bits_per_byte',
        'best_mode': 'min',
      },
    }
  )
