"""DQN drives a weak car up a hill: MountainCar-v0, 120,000 environment steps.

Rewards are the same until the goal, which random actions hardly find. With transitions of three
steps, a rate of 3e-3 and a target close behind all ten seeds arrive. Of other settings tried, one
with ten steps left two of ten behind, and one with single steps, a target copied every 150 updates
and no normalisation all.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; van Hasselt et
al. 2016 (double); the environment is that of Moore 1990.
Command: python scripts/train.py --config=configs/mountaincar_dqn.py --workdir=runs/mountaincar_dqn
Hardware: 2 CPU cores (AMD EPYC), 95 s for ten seeds at once, compilation included
(--config.train.seeds=10).
Expected: return over 128 greedy episodes, ten seeds: interquartile mean -100.5, 95% interval -101.6
to -100.0.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'dqn_mlp',
        'widths': (120, 84),
        'norm': 'layer',
        'scale': (0.6, 0.03),
      },
      'objective': {'name': 'dqn', 'target_rate': 0.05},
      'data': {
        'loader': 'environment',
        'name': 'MountainCar-v0',
        'num_envs': 4,
        'learn_every': 4,
        'batch_size': 64,
        'replay_size': 120_000,
        'warmup': 1_000,
        'n_step': 3,
        'epsilon_end': 0.07,
        'epsilon_steps': 24_000,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 3e-3,
        'schedule': 'cosine',
        'clip_norm': 10.0,
      },
      'train': {
        'steps': 29_700,
        'steps_per_call': 100,
        'cpu_threads': 1,
        'log_every': 500,
        'eval_every': 5_000,
        'checkpoint_every': 5_000,
        'best': 'episode_return',
      },
    }
  )
