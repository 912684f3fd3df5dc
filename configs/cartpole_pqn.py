"""PQN keeps a pole upright: CartPole-v1 without replay or target network, 500,000 steps.

Source: Gallici et al. 2024, Simplifying Deep Temporal Difference Learning; the environment is that
of Barto, Sutton and Anderson 1983.
Command: python scripts/train.py --config=configs/cartpole_pqn.py --workdir=runs/cartpole_pqn
Hardware: 2 CPU cores (AMD EPYC, Zen 3), 72 s for ten seeds at once (--config.train.seeds=10).
Expected: return over 128 greedy episodes 500.0 in nine of ten seeds and 499.8 in the tenth, each at
its best evaluation. At the last step one of the ten had 215.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_mlp', 'widths': (128, 128), 'norm': 'layer'},
      'objective': {'name': 'pqn'},
      'data': {
        'loader': 'rollouts',
        'name': 'CartPole-v1',
        'num_envs': 32,
        'steps': 64,
        'minibatches': 16,
        'epochs': 4,
        'trace': 0.95,
        'epsilon_end': 0.05,
        'epsilon_steps': 100_000,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 1e-3,
        'schedule': 'linear',
        'clip_norm': 10.0,
      },
      'train': {
        'steps': 15_616,
        'steps_per_call': 64,
        'cpu_threads': 1,
        'log_every': 320,
        'eval_every': 1_600,
        'checkpoint_every': 1_600,
        'keep_last': 11,
        'best': 'episode_return',
        'final': 'best',
      },
    }
  )
