"""Rainbow plays a game of Atari: six improvements of DQN at once, 200 million frames.

Distributions of returns (C51), a dueling network, noise in place of random actions, double, three
steps, priorities. Game and protocol follow a colon, as in `atari_dqn.py`, which says what they are;
the games come with ale-py, which is GPL-2.0 (`pip install 'zoo-jax[atari]'`).

Source: Hessel et al. 2018, Rainbow: Combining Improvements in Deep Reinforcement Learning.
Command: python scripts/train.py --config=configs/atari_rainbow.py:pong --workdir=runs/pong_rainbow
Expected: not run.
"""

from ml_collections import ConfigDict

PROTOCOLS = {
  'nature-noop30': {'noop_max': 30, 'sticky': 0.0, 'full_action_space': False},
  'machado-sticky': {'noop_max': 0, 'sticky': 0.25, 'full_action_space': True},
}


def get_config(game: str = 'pong') -> ConfigDict:
  game, _, protocol = game.partition(',')
  protocol = protocol or 'nature-noop30'
  if protocol not in PROTOCOLS:
    raise ValueError(f'unknown protocol {protocol!r}; there are: {", ".join(PROTOCOLS)}')
  return ConfigDict(
    {
      'model': {
        'name': 'dqn_nature',
        'head': 'c51',
        'num_atoms': 51,
        'v_min': -10.0,
        'v_max': 10.0,
        'dueling': True,
        'noisy': True,
      },
      # Four steps of the game are one of learning: 8,000 of them between two targets.
      'objective': {'name': 'dqn', 'double': True, 'target_every': 2_000},
      'data': {
        'loader': 'environment',
        'name': f'atari:{game}',
        **PROTOCOLS[protocol],
        'num_envs': 1,
        'learn_every': 4,
        'batch_size': 32,
        'replay_size': 1_000_000,
        'warmup': 20_000,
        'stack': 4,
        'n_step': 3,
        'clip_rewards': True,
        'epsilon_start': 0.0,
        'epsilon_end': 0.0,
        'prioritized': True,
        'priority_exponent': 0.5,
        'importance_start': 0.4,
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
