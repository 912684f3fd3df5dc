"""DQN drives a weak car up a hill: MountainCar-v0, 120,000 environment steps.

Rewards are the same until the goal, which random actions hardly find: transitions of several steps
bring back faster what is known of it.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; van Hasselt et
al. 2016 (double); the environment is that of Moore 1990.
Command: python scripts/train.py --config=configs/mountaincar_dqn.py --workdir=runs/mountaincar_dqn
Hardware: 2 CPU cores (AMD EPYC), 19 s, compilation included.
Expected: return -147.2 over 128 greedy episodes (one seed); a task that is solved has -110.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_mlp', 'widths': (120, 84)},
      'objective': {'name': 'dqn', 'target_every': 100},
      'data': {
        'loader': 'environment',
        'name': 'MountainCar-v0',
        'num_envs': 10,
        'learn_every': 10,
        'batch_size': 128,
        'replay_size': 120_000,
        'warmup': 5_000,
        'n_step': 5,
        'epsilon_end': 0.05,
        'epsilon_steps': 60_000,
      },
      'optimizer': {'name': 'adam', 'learning_rate': 1e-3, 'clip_norm': 10.0},
      'train': {
        'steps': 11_500,
        'steps_per_call': 100,
        'log_every': 100,
        'eval_every': 2_300,
        'checkpoint_every': 2_300,
        'best': 'episode_return',
      },
    }
  )
