"""DQN keeps a pole upright: CartPole-v1, 50,000 environment steps.

An update for every other step, and a copy of the target network for every 128 of them: values are
sums of a hundred rewards, and with every copy they reach one step further.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; the settings are
near those of Raffin 2020, RL Baselines3 Zoo; the environment is that of Barto, Sutton and Anderson
1983.
Command: python scripts/train.py --config=configs/cartpole_dqn.py --workdir=runs/cartpole_dqn
Expected: to be measured.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_mlp', 'widths': (256, 256)},
      'objective': {'name': 'dqn', 'double': False, 'target_every': 128},
      'data': {
        'loader': 'environment',
        'name': 'CartPole-v1',
        'num_envs': 2,
        'learn_every': 2,
        'batch_size': 64,
        'replay_size': 50_000,
        'warmup': 1_000,
        'epsilon_end': 0.04,
        'epsilon_steps': 8_000,
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 2.3e-3,
        'schedule': 'cosine',
        'clip_norm': 10.0,
      },
      'train': {
        'steps': 24_500,
        'steps_per_call': 100,
        'log_every': 500,
        'eval_every': 2_500,
        'checkpoint_every': 2_500,
        'best': 'episode_return',
      },
    }
  )
