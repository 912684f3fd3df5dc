"""The digits 5 to 9 with 10 labels each, from a Transformer that has learnt 0 to 4.

The head starts anew, and all learn at one rate: with half of it for the two layers nearest to the
input (discriminative rates, as in folder_finetune.py) one draw had 87% instead of 92%.

Source: Yosinski et al. 2014, How Transferable are Features in Deep Neural Networks?
Command: python scripts/train.py --config=configs/digits_transfer.py --workdir=runs/digits_transfer
Before it: configs/digits_0to4.py into runs/digits_0to4; or --config=configs/digits_transfer.py:DIR
From scratch: --config=configs/digits_transfer.py:scratch
Linear probe: --config.optimizer.freeze="('layer_.*', '.*_embedding.*', 'final_norm/.*')"
  With --config.train.seed=N --config.data.draw=N: a seed of its own for each draw of the labels.
Hardware: 2 CPU cores (AMD EPYC), 69 to 85 s, compilation included, beside other work.
Expected: 91.95% test accuracy (1.34 standard deviation over 3 draws). From scratch, in as many
  steps at its better rate, 85.68% (2.16); linear probe 53.02% (5.37).
  The CNN of digits_cnn gains nothing: 10 labels a class teach it from scratch as much (95.8%).
"""

from ml_collections import ConfigDict


def get_config(source: str = 'runs/digits_0to4') -> ConfigDict:
  from_scratch = source == 'scratch'
  return ConfigDict(
    {
      'model': {
        'name': 'vit_s16',
        'patch_size': 2,
        'num_layers': 4,
        'width': 64,
        'num_heads': 4,
        'ffn_width': 128,
        'pooling': 'mean',
      },
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': 'digits',
        'train': 'train[:85%]',
        'validation': 'train[85%:]',
        'test': 'test',
        'classes': (5, 6, 7, 8, 9),
        'labels_per_class': 10,
        'batch_size': 32,
        'eval_batch_size': 128,
        'augment': {'random_affine': {'degrees': 10.0, 'translate': 0.1}},
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 4e-3 if from_scratch else 2e-3,  # the best of 1, 2, 4 and 8
        'schedule': 'cosine',
        'warmup_steps': 30,
        'weight_decay': 0.01,
      },
      'train': {
        'steps': 300,
        'init_from': '' if from_scratch else source,
        'init_ignore': () if from_scratch else ('head/.*',),
        'log_every': 50,
        'eval_every': 100,
        'checkpoint_every': 100,
      },
    }
  )
