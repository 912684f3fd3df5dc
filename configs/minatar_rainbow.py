"""Rainbow on a MinAtar game: asterix, breakout, freeway, seaquest or space_invaders.

After a colon comes the game, after a comma the protocol, see `minatar_breakout_dqn.py`:
`minatar_rainbow.py:freeway,minatar-original`. Rewards are not clipped, so atoms reach from 0 to 50
and not from -10 to 10.

Source: Hessel et al. 2018, Rainbow, on Young and Tian 2019, MinAtar; sizes and rates for MinAtar as
in Obando-Ceron and Castro 2021, Revisiting Rainbow.
Command: python scripts/train.py --config=configs/minatar_rainbow.py:breakout --workdir=runs/rainbow
Hardware: not run
Expected: not run
"""

from ml_collections import ConfigDict

from zoo.names import unknown
from zoo.presets import agent

PROTOCOLS = {'gymnax': 'gymnax:{}-MinAtar', 'minatar-original': 'gymnasium:MinAtar/{}-v0'}
GAMES = {
  'asterix': 'Asterix',
  'breakout': 'Breakout',
  'freeway': 'Freeway',
  'seaquest': 'Seaquest',
  'space_invaders': 'SpaceInvaders',
}


def get_config(game: str = 'breakout') -> ConfigDict:
  game, _, protocol = game.partition(',')
  protocol = protocol or 'gymnax'
  for what, name, table in (('game', game, GAMES), ('protocol', protocol, PROTOCOLS)):
    if name not in table:
      raise unknown(what, name, table)
  config = ConfigDict(
    {
      'model': {'name': 'dqn_minatar', 'v_min': 0.0, 'v_max': 50.0},
      'objective': {'name': 'dqn', 'target_every': 1_000},
      'data': {
        'loader': 'environment',
        'name': PROTOCOLS[protocol].format(GAMES[game]),
        'num_envs': 4,
        'learn_every': 4,
        'batch_size': 32,
        'replay_size': 100_000,
        'warmup': 1_000,
      },
      'optimizer': {'name': 'adam', 'learning_rate': 2.5e-4, 'eps': 3.125e-4},
      'train': {
        'steps': 1_000_000,
        'steps_per_call': 1_000 if protocol == 'gymnax' else 1,
        'log_every': 10_000,
        'eval_every': 50_000,
        'checkpoint_every': 50_000,
        'best': 'episode_return',
      },
    }
  )
  config.update(agent('rainbow'))
  return config
