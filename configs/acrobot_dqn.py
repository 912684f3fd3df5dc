"""DQN swings two links up: Acrobot-v1, 100,000 environment steps.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; van Hasselt et
al. 2016 (double); the environment is that of Sutton 1996.
Command: python scripts/train.py --config=configs/acrobot_dqn.py --workdir=runs/acrobot_dqn
Hardware: 2 CPU cores (AMD EPYC), 101 s for ten seeds at once, compilation included
(--config.train.seeds=10).
Expected: return over 128 greedy episodes, ten seeds: interquartile mean -79.2, 95% interval -80.5
to -77.3. Transitions of one step: with those of three it was -83.4 (and -80.8 at half the rate).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'dqn_mlp',
        'widths': (120, 84),
        'norm': 'layer',
        'scale': (0.5, 0.5, 0.5, 0.5, 2.0, 4.0),
      },
      'objective': {'name': 'dqn', 'target_rate': 0.05},
      'data': {
        'loader': 'environment',
        'name': 'Acrobot-v1',
        'num_envs': 4,
        'learn_every': 4,
        'batch_size': 64,
        'replay_size': 50_000,
        'warmup': 2_000,
        'n_step': 1,
        'epsilon_end': 0.05,
        'epsilon_steps': 20_000,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 2e-3,
        'schedule': 'cosine',
        'clip_norm': 10.0,
      },
      'train': {
        'steps': 24_500,
        'steps_per_call': 100,
        'cpu_threads': 1,
        'log_every': 500,
        'eval_every': 5_000,
        'checkpoint_every': 5_000,
        'best': 'episode_return',
      },
    }
  )
