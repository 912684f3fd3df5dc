"""DQN plays a game of Atari from its screen: network and settings of Nature, 200 million frames.

After a colon comes the game, after a comma the protocol: `atari_dqn.py:breakout,machado-sticky`.
'nature-noop30' (the default) starts episodes with up to 30 frames of nothing; 'machado-sticky' goes
on with the action before, by a chance of a quarter at every frame, and has all 18 actions. Losing a
life ends nothing, as in DQN Zoo. The games come with ale-py, which is GPL-2.0 (`pip install
'zoo-jax[atari]'`). The replay takes 7.1 GB; `--config.data.replay=host` keeps it off the device.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; Machado et al.
2018, Revisiting the Arcade Learning Environment; Quan and Ostrovski 2020, DQN Zoo, for how steps
and frames are counted.
Command: python scripts/train.py --config=configs/atari_dqn.py:pong --workdir=runs/pong_dqn
Hardware: a GPU. 2 CPU cores (AMD EPYC) that had other work (load 5) play 4,000 frames of Pong a
second at random, 6,000 in eight games at once, and learn from 170: an update takes 90 ms of a core,
to act four times and draw a batch 12 ms.
Expected: not run.
"""

from ml_collections import ConfigDict

from zoo.presets import atari


def get_config(game: str = 'pong') -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_nature'},
      # Four steps of the game are one of learning: 10,000 of them between two targets.
      'objective': {'name': 'dqn', 'double': False, 'target_every': 2_500},
      'data': {
        'loader': 'environment',
        **atari(game),
        'num_envs': 1,
        'learn_every': 4,
        'batch_size': 32,
        'replay_size': 1_000_000,
        'warmup': 50_000,
        'stack': 4,
        'clip_rewards': True,
        'epsilon_end': 0.1,
        'epsilon_steps': 1_000_000,
        'validation': 8,
        'test': 32,
        'eval_epsilon': 0.05,
      },
      'optimizer': {
        'name': 'rmsprop',
        'learning_rate': 2.5e-4,
        'b2': 0.95,
        'eps': 0.01 / 32**2,
        'centered': True,
      },
      'train': {
        'steps': 12_487_500,
        'log_every': 2_500,
        'eval_every': 250_000,
        'checkpoint_every': 250_000,
        'best': 'episode_return',
      },
    }
  )
