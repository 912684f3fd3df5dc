"""GPT-2 fine-tuned on CPython's own documentation, from a folder of published weights.

Source: Radford et al. 2019 for the model; Hu et al. 2021 for low-rank adapters, which
--config.objective.lora_rank=8 trains in place of all weights.
Command: python scripts/train.py --config=configs/gpt2_finetune.py:FOLDER --workdir=runs/finetune
Hardware: one GPU; FOLDER holds config.json, model.safetensors and tokenizer.json (or vocab.json and
merges.txt) of GPT-2; of its larger sizes with --config.model.name=gpt2_medium and so on.
Expected: not run here.
"""

from ml_collections import ConfigDict


def get_config(folder: str = '') -> ConfigDict:
  """The config that starts from the weights and the tokeniser in a folder.

  Without one it starts from nothing, on bytes.
  """
  return ConfigDict(
    {
      'model': {'name': 'gpt2', 'dropout': 0.1, 'remat': True},
      'objective': {'name': 'language_model'},
      'data': {
        'loader': 'text',
        'name': 'pydocs',
        'train': 'train',
        'validation': 'validation',
        'test': 'test',
        'tokenizer': folder or 'byte',
        'length': 512,
        'batch_size': 8,
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 5e-5,
        'schedule': 'cosine',
        'warmup_steps': 20,
        'weight_decay': 0.01,
        'clip_norm': 1.0,
      },
      'train': {
        'steps': 300,
        'init_from': folder,
        'log_every': 10,
        'eval_every': 50,
        'preview_every': 100,
        'checkpoint_every': 50,
        'best': 'bits_per_byte',
        'best_mode': 'min',
      },
    }
  )
