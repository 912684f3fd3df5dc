"""DQN lands a craft between two flags: LunarLander-v3 of Gymnasium, 100,000 environment steps.

The environment runs on the host (`pip install 'zoo-jax[gymnasium]'`). 200 is taken for solved.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; van Hasselt et
al. 2016 (double); Sutton 1988 (several steps). Rate and share of random actions resemble those of
RL Baselines3 Zoo.
Command: python scripts/train.py --config=configs/lunarlander_dqn.py --workdir=runs/lunarlander_dqn
Hardware: 2 CPU cores (AMD EPYC) that had other work (load 5), 15 minutes, compilation included.
Expected: return 192.9 over 128 greedy episodes, whose standard deviation is 85 (one seed; the run
was stopped and gone on with once).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_mlp', 'widths': (256, 256)},
      'objective': {'name': 'dqn', 'target_rate': 0.01},
      'data': {
        'loader': 'environment',
        'name': 'gymnasium:LunarLander-v3',
        'num_envs': 2,
        'learn_every': 2,
        'batch_size': 128,
        'replay_size': 100_000,
        'warmup': 2_000,
        'n_step': 3,
        'epsilon_end': 0.05,
        'epsilon_steps': 12_000,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 6e-4,
        'schedule': 'cosine',
        'clip_norm': 10.0,
      },
      'train': {
        'steps': 49_000,
        'log_every': 500,
        'eval_every': 3_500,
        'checkpoint_every': 3_500,
        'best': 'episode_return',
      },
    }
  )
