"""DQN breaks bricks: MinAtar Breakout, one update a frame as published.

After a colon comes the protocol. 'gymnax' (the default, on the device) has no sticky actions and
episodes of 1,000 frames at most; 'minatar-original' is the package of the paper, on the host: an
action sticks by a chance of 0.1, all six actions, no limit.

Source: Young and Tian 2019, MinAtar: An Atari-Inspired Testbed, whose DQN this is.
Command: python scripts/train.py --config=configs/minatar_breakout_dqn.py --workdir=runs/breakout
Hardware: one core of an AMD EPYC (Zen 3) that had other work, 34 min (about 500 frames a second).
Expected: 22.5 over 128 greedy episodes (test), one seed; results/minatar_breakout_dqn/curves.png.
Without sticky actions there are two episodes, by where the ball starts.
"""

from ml_collections import ConfigDict

from zoo.names import unknown

PROTOCOLS = {
  'gymnax': 'gymnax:Breakout-MinAtar',
  'minatar-original': 'gymnasium:MinAtar/Breakout-v0',
}


def get_config(protocol: str = 'gymnax') -> ConfigDict:
  if protocol not in PROTOCOLS:
    raise unknown('protocol', protocol, PROTOCOLS)
  on_device = protocol == 'gymnax'
  return ConfigDict(
    {
      'model': {'name': 'dqn_minatar', 'widths': (128,)},
      'objective': {'name': 'dqn', 'double': False, 'target_every': 1_000},
      'data': {
        'loader': 'environment',
        'name': PROTOCOLS[protocol],
        'num_envs': 1,
        'learn_every': 1,
        'batch_size': 32,
        'replay_size': 100_000,
        'warmup': 5_000,
        'epsilon_end': 0.1,
        'epsilon_steps': 100_000,
      },
      'optimizer': {
        'name': 'rmsprop',
        'learning_rate': 2.5e-4,
        'b2': 0.95,
        'eps': 0.01,
        'centered': True,
      },
      'train': {
        'steps': 1_000_000,
        'steps_per_call': 1_000 if on_device else 1,
        'log_every': 10_000,
        'eval_every': 50_000,
        'checkpoint_every': 50_000,
        'best': 'episode_return',
      },
    }
  )
