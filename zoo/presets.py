"""Published agents as sections of a config: what sets each apart, for any environment.

A config with an argument uses them: `--config=configs/cartpole_dqn.py:rainbow`. What depends on the
environment (replay, batch, how often is learnt, `v_min` and `v_max` of atoms) is the config's.

References:
  nature: Mnih et al. 2015, Human-level control through deep reinforcement learning.
  double: van Hasselt et al. 2016, Deep Reinforcement Learning with Double Q-learning.
  rainbow: Hessel et al. 2018, Rainbow: Combining Improvements, table 1.
  qr: Dabney et al. 2018, Distributional Reinforcement Learning with Quantile Regression.
  iqn: Dabney et al. 2018, Implicit Quantile Networks.
  munchausen: Vieillard et al. 2020, Munchausen Reinforcement Learning.
"""

from typing import Any

from zoo.names import unknown

Sections = dict[str, dict[str, Any]]

AGENTS: dict[str, Sections] = {
  'nature': {'objective': {'double': False}},
  'double': {'objective': {'double': True}},
  'rainbow': {
    'model': {'head': 'c51', 'dueling': True, 'noisy': True},
    'objective': {'double': True},
    'data': {
      'n_step': 3,
      'prioritized': True,
      'priority_exponent': 0.5,
      'importance_start': 0.4,
      # Noise in the network explores in place of random actions.
      'epsilon_start': 0.0,
      'epsilon_end': 0.0,
    },
  },
  'qr': {'model': {'head': 'qr', 'num_quantiles': 200}, 'objective': {'double': False}},
  'iqn': {'model': {'head': 'iqn'}, 'objective': {'double': False, 'taus': 8}},
  'munchausen': {'objective': {'munchausen': True, 'double': False}},
}


# How a game of Atari is played: options of the section `data`.
PROTOCOLS: dict[str, dict[str, Any]] = {
  'nature-noop30': {'noop_max': 30, 'sticky': 0.0, 'full_action_space': False},
  'machado-sticky': {'noop_max': 0, 'sticky': 0.25, 'full_action_space': True},
}


def atari(argument: str) -> dict[str, Any]:
  """Options of 'GAME' or 'GAME,PROTOCOL'; 'nature-noop30' by default.

  Raises:
    ValueError: an unknown protocol, with the nearest there is.

  References:
    Machado et al. 2018, Revisiting the Arcade Learning Environment.
  """
  game, _, protocol = argument.partition(',')
  protocol = protocol or 'nature-noop30'
  if protocol not in PROTOCOLS:
    raise unknown('protocol', protocol, PROTOCOLS)
  return {'name': f'atari:{game}', **PROTOCOLS[protocol]}


def agent(name: str) -> Sections:
  """The sections of an agent: `config.update(agent('rainbow'))`.

  Raises:
    ValueError: an unknown name, with the nearest there is.
  """
  if name not in AGENTS:
    raise unknown('agent', name, AGENTS)
  return AGENTS[name]
