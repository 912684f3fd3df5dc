"""DQN keeps a pole upright: CartPole-v1, 50,000 environment steps.

Values are sums of a hundred rewards, and with every copy of the target network they reach as many
steps further as a transition has. With one update in 10 steps, a copy every 50 updates, transitions
of one step and a constant rate, returns of 20 seeds fell from 89 to 33 (IQM, at 8,000 and 43,000
steps). What stands here instead ended at 177 on the test split (seed 0): it does not reach 500 yet.

Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; van Hasselt et
al. 2016 (double); the environment is that of Barto, Sutton and Anderson 1983.
Command: python scripts/train.py --config=configs/cartpole_dqn.py --workdir=runs/cartpole_dqn
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'dqn_mlp', 'widths': (120, 84)},
      'objective': {'name': 'dqn', 'target_every': 100},
      'data': {
        'loader': 'environment',
        'name': 'CartPole-v1',
        'num_envs': 4,
        'learn_every': 4,
        'batch_size': 128,
        'replay_size': 50_000,
        'warmup': 1_200,
        'n_step': 3,
        'epsilon_end': 0.05,
        'epsilon_steps': 10_000,
      },
      'optimizer': {'name': 'adam', 'learning_rate': 1e-3, 'schedule': 'cosine', 'clip_norm': 10.0},
      'train': {
        'steps': 12_200,
        'steps_per_call': 100,
        'log_every': 100,
        'eval_every': 1_200,
        'checkpoint_every': 1_200,
        'best': 'episode_return',
      },
    }
  )
