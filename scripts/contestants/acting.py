"""DQN on CartPole with learning, environment steps a second: our side, and those of the peers.

All have the network, batch and schedule of Rejax's and PureJaxRL's comparison: two dense layers of
120 and 84, ten environments, a batch of 128 for every ten steps of environments.
"""

from typing import Any

from contestants.case import Call, Case

ENVS, BATCH, WIDTHS = 10, 128, (120, 84)
RATE, DISCOUNT, REPLAY, TARGET_EVERY = 2.5e-4, 0.99, 10_000, 500
STEPS = 5_000  # of environments, in a call


def zoo_dqn(seeds: int) -> Call:
  import jax

  from zoo import platform
  from zoo.experiment import complete_config, make_experiment
  from zoo.runs import program_of

  platform.divide_cpu(seeds, threads=1)  # as scripts/train.py does by such a config
  config = complete_config(
    {
      'model': {'name': 'dqn_mlp', 'widths': WIDTHS},
      'objective': {'name': 'dqn', 'double': False, 'target_every': TARGET_EVERY // ENVS},
      'data': {
        'loader': 'environment',
        'name': 'CartPole-v1',
        'num_envs': ENVS,
        'learn_every': ENVS,
        'batch_size': BATCH,
        'replay_size': REPLAY,
        'discount': DISCOUNT,
      },
      'optimizer': {'name': 'adam', 'learning_rate': RATE},
      'train': {'seeds': seeds, 'best': 'episode_return'},
    }
  )
  program = program_of(make_experiment(config), STEPS // ENVS)
  states = program.init(jax.random.key(0))

  def call() -> None:
    nonlocal states
    states = program.step(*states, program.data)[:2]
    jax.block_until_ready(states)

  return call


def stable_baselines3() -> Call:
  """Stable-Baselines3 on ten environments of Gymnasium: the usual choice, with PyTorch."""
  import stable_baselines3  # pyright: ignore[reportMissingImports]
  from stable_baselines3.common import env_util  # pyright: ignore[reportMissingImports]

  environments = env_util.make_vec_env('CartPole-v1', ENVS)
  agent = stable_baselines3.DQN(
    'MlpPolicy',
    environments,
    learning_rate=RATE,
    buffer_size=REPLAY,
    learning_starts=1_000,
    batch_size=BATCH,
    gamma=DISCOUNT,
    train_freq=1,  # of all environments
    gradient_steps=1,
    target_update_interval=TARGET_EVERY,
    policy_kwargs={'net_arch': list(WIDTHS)},
    device='cpu',
  )

  def call() -> None:
    agent.learn(STEPS, reset_num_timesteps=False)

  return call


def rejax(seeds: int) -> Call:
  """Rejax, in JAX too: its iterations as it scans them, mapped over seeds.

  Rejax 0.1.3 needs gymnax 0.0.9, which is not that of our extra: hence the extra `peers`.
  """
  import jax
  from rejax import DQN  # pyright: ignore[reportMissingImports]

  agent: Any = DQN.create(
    env='CartPole-v1',
    agent_kwargs={'activation': 'relu'},
    learning_rate=RATE,
    buffer_size=REPLAY,
    fill_buffer=1_000,
    batch_size=BATCH,
    gamma=DISCOUNT,
    num_envs=ENVS,
    num_epochs=1,
    ddqn=False,
    target_update_freq=TARGET_EVERY,
    total_timesteps=10_000_000,
    eval_freq=10_000_000,
  )
  agent = agent.replace(agent=agent.agent.clone(hidden_layer_sizes=WIDTHS))
  states = jax.vmap(agent.init_state)(jax.random.split(jax.random.key(0), seeds))

  @jax.jit
  @jax.vmap
  def run(state: Any) -> Any:
    return jax.lax.fori_loop(0, STEPS // ENVS, lambda _, s: agent.train_iteration(s), state)

  def call() -> None:
    nonlocal states
    states = run(states)
    jax.block_until_ready(states)

  return call


def dqn_case(seeds: int) -> Case:
  """Training under so many seeds at once."""
  peers = {'rejax': lambda: rejax(seeds)}
  if seeds == 1:
    peers['stable-baselines3'] = stable_baselines3
  return Case(
    f'DQN on CartPole, {seeds} seed{"s" if seeds > 1 else ""}',
    STEPS * seeds,
    lambda: zoo_dqn(seeds),
    peers,
    'environment steps',
  )
