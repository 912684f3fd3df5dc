"""BERT fine-tuned on the sentiment of film reviews, from a folder of published weights.

Source: Devlin et al. 2019, BERT, appendix A.3: 2 to 4 epochs, learning rate 2e-5 to 5e-5, dropout
0.1. The data: Maas et al. 2011, in TFDS.
Command: python scripts/train.py --config=configs/imdb_bert.py:FOLDER --workdir=runs/imdb_bert
Hardware: one GPU; FOLDER is a checkpoint such as bert-base-uncased with its tokenizer.json; without
it the model starts from nothing, with pieces of words learned from the data.
Expected: not run here.
"""

from ml_collections import ConfigDict


def get_config(folder: str = '') -> ConfigDict:
  """The config that starts from the weights and the tokeniser in a folder, or from nothing."""
  return ConfigDict(
    {
      'model': {'name': 'bert', 'max_length': 512},
      'objective': {'name': 'classification'},
      'data': {
        'loader': 'text',
        'name': 'imdb_reviews',
        'train': 'train[:90%]',
        'validation': 'train[90%:]',
        'test': 'test',
        'tokenizer': folder or 'bpe',
        'vocab_size': 0 if folder else 16384,
        'length': 512,
        'batch_size': 32,
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 2e-5,
        'schedule': 'linear',
        'warmup_steps': 200,
        'weight_decay': 0.01,
        'clip_norm': 1.0,
      },
      'train': {
        'steps': 2100,
        'init_from': folder,
        'init_ignore': ('(classifier|masked_lm)/.*',) if folder else (),
        'log_every': 50,
        'eval_every': 350,
        'checkpoint_every': 350,
      },
    }
  )
