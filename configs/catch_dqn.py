"""DQN learns to catch a ball that falls through a board of 10 x 5: seconds, and all that a DQN has.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; Osband et al.
2020, Behaviour Suite for Reinforcement Learning, for the environment.
Command: python scripts/train.py --config=configs/catch_dqn.py --workdir=runs/catch_dqn
Hardware: 2 CPU cores (AMD EPYC), 23 s, beside other work, compilation included.
Expected: return 1, which is every ball caught, over 128 greedy episodes (3 seeds).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_mlp', 'widths': (64, 64)},
      'objective': {'name': 'dqn', 'target_every': 100},
      'data': {
        'loader': 'environment',
        'name': 'Catch',
        'num_envs': 8,
        'learn_every': 8,
        'batch_size': 64,
        'replay_size': 8_000,
        'warmup': 800,
        'epsilon_end': 0.05,
        'epsilon_steps': 8_000,
        'validation': 64,
      },
      'optimizer': {'name': 'adam', 'learning_rate': 1e-3},
      'train': {
        'steps': 2_000,
        'steps_per_call': 100,
        'cpu_threads': 1,
        'log_every': 200,
        'eval_every': 500,
        'checkpoint_every': 500,
        'best': 'episode_return',
      },
    }
  )
