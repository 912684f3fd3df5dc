"""DQN keeps a pole upright: CartPole-v1, 50,000 environment steps.

With an argument another agent of zoo/presets.py does: nature, rainbow, qr, iqn or munchausen.

Values are sums of a hundred rewards: transitions of ten steps carry them back ten times as fast,
and a target that follows at 0.1 a step is not far behind. Angles are small and positions are not:
divided by their scale, and with layer normalisation, forty seeds had 499.3 on average; with a
target rate of 0.01, five steps and half the learning rate six had 491, without the scale 422.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; van Hasselt et
al. 2016 (double); Sutton 1988 (several steps); the environment is that of Barto, Sutton and
Anderson 1983.
Command: python scripts/train.py --config=configs/cartpole_dqn.py --workdir=runs/cartpole_dqn
Hardware: 2 CPU cores (AMD EPYC, Zen 3), 110 s for twenty seeds at once, compilation included
(--config.train.seeds=20).
Expected: of twenty seeds, each judged at the evaluation of 512 greedy episodes where it was best
first (validation), 500.0 over 128 others (test) in nineteen and 499.99 in one; of seeds 20 to 39
likewise in nineteen, and 499.0 in one, of 40 to 59 in all. At the last step it is 500.0 in
seventeen of the first twenty.
"""

from ml_collections import ConfigDict

from zoo.presets import agent


def get_config(name: str = 'double') -> ConfigDict:
  config = ConfigDict(
    {
      'model': {
        'name': 'dqn_mlp',
        'widths': (120, 84),
        'norm': 'layer',
        'scale': (1.2, 0.5, 0.1, 0.5),
        'v_min': 0.0,
        'v_max': 100.0,
      },
      'objective': {'name': 'dqn', 'target_rate': 0.1},
      'data': {
        'loader': 'environment',
        'name': 'CartPole-v1',
        'num_envs': 4,
        'learn_every': 4,
        'batch_size': 64,
        'replay_size': 50_000,
        'warmup': 1_200,
        'n_step': 10,
        'epsilon_end': 0.04,
        'epsilon_steps': 8_000,
        'validation': 512,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 2e-3,
        'schedule': 'cosine',
        'clip_norm': 10.0,
      },
      'train': {
        'steps': 12_200,
        'steps_per_call': 100,
        'cpu_threads': 1,
        'log_every': 200,
        'eval_every': 1_000,
        'checkpoint_every': 1_000,
        'keep_last': 13,
        'best': 'episode_return',
        'final': 'best',
      },
    }
  )
  config.update(agent(name))
  return config
