"""Makes control.npz from Gymnasium: python tests/golden/make_control.py

Steps of random episodes: the state before (float32), the action, and what came of it. Every step
starts from a state that float32 holds, so that rounding is of that step alone.
"""

import pathlib

import gymnasium
import numpy as np

HERE = pathlib.Path(__file__).parent
NAMES = ('CartPole-v1', 'Acrobot-v1', 'MountainCar-v0')


def steps(name: str, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Steps from where episodes go, and from anywhere: so that walls, falls and goals occur."""
  env = gymnasium.make(name).unwrapped
  low, high = {
    'CartPole-v1': ([-2.6, -2, -0.25, -2], [2.6, 2, 0.25, 2]),
    'Acrobot-v1': ([-np.pi, -np.pi, -12.5, -28], [np.pi, np.pi, 12.5, 28]),
    'MountainCar-v0': ([-1.2, -0.07], [0.6, 0.07]),
  }[name]
  rows = {key: [] for key in ('state', 'action', 'next', 'observation', 'reward', 'terminated')}
  for i in range(count):
    env.reset(seed=i)
    if i % 2:
      env.state = rng.uniform(low, high)
    env.state = np.asarray(env.state, np.float32).astype(np.float64)
    action = int(rng.integers(env.action_space.n))
    rows['state'].append(env.state)
    observation, reward, terminated, _, _ = env.step(action)
    found = (action, env.state, observation, reward, terminated)
    for key, value in zip(list(rows)[1:], found, strict=True):
      rows[key].append(value)
  return {f'{name}/{key}': np.array(values) for key, values in rows.items()}


if __name__ == '__main__':
  rng, arrays = np.random.default_rng(0), {}
  for name in NAMES:
    arrays |= steps(name, 200, rng)
  kept = {k: x.astype(np.float32) if x.dtype == np.float64 else x for k, x in arrays.items()}
  np.savez_compressed(HERE / 'control.npz', **kept)
