"""DQN swings two links up: Acrobot-v1, 100,000 environment steps.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; van Hasselt et
al. 2016 (double); the environment is that of Sutton 1996.
Command: python scripts/train.py --config=configs/acrobot_dqn.py --workdir=runs/acrobot_dqn
Hardware: 2 CPU cores (AMD EPYC), 19 s, compilation included.
Expected: return -82.1 over 128 greedy episodes (one seed).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_mlp', 'widths': (120, 84)},
      'objective': {'name': 'dqn', 'target_every': 50},
      'data': {
        'loader': 'environment',
        'name': 'Acrobot-v1',
        'num_envs': 10,
        'learn_every': 10,
        'batch_size': 128,
        'replay_size': 50_000,
        'warmup': 5_000,
        'n_step': 3,
        'epsilon_end': 0.05,
        'epsilon_steps': 20_000,
      },
      'optimizer': {'name': 'adam', 'learning_rate': 1e-3, 'clip_norm': 10.0},
      'train': {
        'steps': 9_500,
        'steps_per_call': 100,
        'log_every': 100,
        'eval_every': 1_900,
        'checkpoint_every': 1_900,
        'best': 'episode_return',
      },
    }
  )
