"""Rainbow plays a game of Atari: six improvements of DQN at once, 200 million frames.

Distributions of returns (C51), a dueling network, noise in place of random actions, double, three
steps, priorities. Game and protocol follow a colon, as in `atari_dqn.py`, which says what they are;
the games come with ale-py, which is GPL-2.0 (`pip install 'zoo-jax[atari]'`).

Source: Hessel et al. 2018, Rainbow: Combining Improvements in Deep Reinforcement Learning.
Command: python scripts/train.py --config=configs/atari_rainbow.py:pong --workdir=runs/pong_rainbow
Expected: not run.
"""

from ml_collections import ConfigDict

from zoo.presets import agent, atari


def get_config(game: str = 'pong') -> ConfigDict:
  config = ConfigDict(
    {
      'model': {'name': 'dqn_nature', 'num_atoms': 51, 'v_min': -10.0, 'v_max': 10.0},
      # Four steps of the game are one of learning: 8,000 of them between two targets.
      'objective': {'name': 'dqn', 'target_every': 2_000},
      'data': {
        'loader': 'environment',
        **atari(game),
        'num_envs': 1,
        'learn_every': 4,
        'batch_size': 32,
        'replay_size': 1_000_000,
        'warmup': 20_000,
        'stack': 4,
        'clip_rewards': True,
        'importance_steps': 50_000_000,
        'validation': 8,
        'test': 32,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 6.25e-5,
        'eps': 1.5e-4,
        'clip_norm': 10.0,
      },
      'train': {
        'steps': 12_495_000,
        'log_every': 2_500,
        'eval_every': 250_000,
        'checkpoint_every': 250_000,
        'best': 'episode_return',
      },
    }
  )
  config.update(agent('rainbow'))
  return config
