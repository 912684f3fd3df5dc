"""An LSTM that reads scikit-learn's handwritten digits row by row (8x8, no download).

Source: Le et al. 2015, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units,
section 4.2, for the task (on MNIST, pixel by pixel there). The data: as configs/digits_cnn.py.
Command: python scripts/train.py --config=configs/digits_lstm.py --workdir=runs/digits_lstm
Hardware: 2 CPU cores (AMD EPYC).
Expected: 97.3% test accuracy in 15 s (2 seeds).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'rnn_classifier', 'width': 128, 'bidirectional': True, 'dropout': 0.2},
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': 'digits',
        'train': 'train[:85%]',
        'validation': 'train[85%:]',
        'test': 'test',
        'batch_size': 64,
        'augment': {'random_affine': {'degrees': 10.0, 'translate': 0.1}},
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 3e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'weight_decay': 0.01,
        'clip_norm': 1.0,
      },
      'train': {'steps': 2000, 'log_every': 50, 'eval_every': 400, 'checkpoint_every': 400},
    }
  )
