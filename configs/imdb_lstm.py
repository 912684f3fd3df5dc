"""A bidirectional LSTM on the sentiment of film reviews.

Source: Maas et al. 2011, Learning Word Vectors for Sentiment Analysis; the data: TFDS.
Command: python scripts/train.py --config=configs/imdb_lstm.py --workdir=runs/imdb_lstm
Hardware: one GPU; prepare the data first: python -m zoo.data.tfds imdb_reviews
Expected: not run here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'rnn_classifier',
        'width': 256,
        'embedding_width': 128,
        'bidirectional': True,
        'pooling': 'mean',
        'dropout': 0.5,
      },
      'objective': {'name': 'classification'},
      'data': {
        'loader': 'text',
        'name': 'imdb_reviews',
        'train': 'train[:90%]',
        'validation': 'train[90%:]',
        'test': 'test',
        'tokenizer': 'bpe',
        'vocab_size': 16384,
        'length': 512,
        'batch_size': 64,
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 1e-3,
        'schedule': 'cosine',
        'warmup_steps': 200,
        'weight_decay': 0.01,
        'clip_norm': 1.0,
      },
      'train': {'steps': 3500, 'log_every': 50, 'eval_every': 350, 'checkpoint_every': 350},
    }
  )
