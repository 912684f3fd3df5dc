"""Rainbow on a MinAtar game: --config=configs/minatar_rainbow.py:asterix.

There are asterix, breakout, freeway, seaquest and space_invaders, by the rules of gymnax. Rewards
are not clipped, so atoms reach from 0 to 50 and not from -10 to 10.

Source: Hessel et al. 2018, Rainbow, on Young and Tian 2019, MinAtar; sizes and rates for MinAtar as
in Obando-Ceron and Castro 2021, Revisiting Rainbow.
Command: python scripts/train.py --config=configs/minatar_rainbow.py:breakout --workdir=runs/rainbow
Hardware: not run
Expected: not run
"""

from ml_collections import ConfigDict

from zoo.names import unknown
from zoo.presets import agent

GAMES = {
  'asterix': 'Asterix',
  'breakout': 'Breakout',
  'freeway': 'Freeway',
  'seaquest': 'Seaquest',
  'space_invaders': 'SpaceInvaders',
}


def get_config(game: str = 'breakout') -> ConfigDict:
  if game not in GAMES:
    raise unknown('game', game, GAMES)
  config = ConfigDict(
    {
      'model': {'name': 'dqn_minatar', 'v_min': 0.0, 'v_max': 50.0},
      'objective': {'name': 'dqn', 'target_every': 1_000},
      'data': {
        'loader': 'environment',
        'name': f'gymnax:{GAMES[game]}-MinAtar',
        'num_envs': 4,
        'learn_every': 4,
        'batch_size': 32,
        'replay_size': 100_000,
        'warmup': 1_000,
      },
      'optimizer': {'name': 'adam', 'learning_rate': 2.5e-4, 'eps': 3.125e-4},
      'train': {
        'steps': 1_000_000,
        'steps_per_call': 1_000,
        'log_every': 10_000,
        'eval_every': 50_000,
        'checkpoint_every': 50_000,
        'best': 'episode_return',
      },
    }
  )
  config.update(agent('rainbow'))
  return config
