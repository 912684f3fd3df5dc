"""GPT-2 of 124M parameters on OpenWebText, by the recipe of nanoGPT.

Source: https://github.com/karpathy/nanoGPT, config/train_gpt2.py: 0.5M tokens a step, learning rate
6e-4 to 6e-5. (Its layers have no biases; ours do, as GPT-2's.) The data: Gokaslan and Cohen 2019,
OpenWebText Corpus, in TFDS. GPT-2's own pieces of words: --config.data.tokenizer=FOLDER with
GPT-2's vocab.json and merges.txt; without it they are learned from the data.
Command: python scripts/train.py --config=configs/openwebtext_gpt2.py --workdir=runs/openwebtext
Hardware: 8 GPUs; prepare the data first: python -m zoo.data.tfds openwebtext
Expected: not run here; nanoGPT reports a validation loss of 2.85 after 4 days on 8 A100.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'gpt2',
        'context_length': 1024,
        'vocab_multiple': 128,
        'dropout': 0.0,
        'dtype': 'bfloat16',
      },
      'objective': {'name': 'language_model', 'loss_chunk': 128},
      'data': {
        'loader': 'text',
        'name': 'openwebtext',
        'train': 'train[:99%]',
        'validation': 'train[99%:]',
        'test': '',
        'tokenizer': 'bpe',
        'vocab_size': 50257,
        'length': 1024,
        'batch_size': 480,
        'eval_batch_size': 96,
        'on_device': False,
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 6e-4,
        'schedule': 'cosine',
        'warmup_steps': 2000,
        'final_scale': 0.1,
        'weight_decay': 0.1,
        'b2': 0.95,
        'clip_norm': 1.0,
      },
      'train': {
        'steps': 600000,
        'log_every': 100,
        'eval_every': 5000,
        'preview_every': 20000,
        'checkpoint_every': 5000,
        'best': 'bits_per_byte',
        'best_mode': 'min',
      },
    }
  )
