"""What a case of scripts/peers.py is made of.

Nothing is imported but what a contestant needs: its process may have no torch, or no zoo.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Call = Callable[[], Any]
"""One step, finished when it returns. What it returns is compared; None where there is nothing."""


class Case(NamedTuple):
  """What to compare.

  Attributes:
    what: in words.
    amount: of tokens or pictures in a step.
    ours: makes our step. Run in the process of that contestant alone, like those of `peers`.
    peers: make the step of each peer, by name.
    unit: what is counted.
    accelerator: whether it is too large for a CPU.
  """

  what: str
  amount: int
  ours: Callable[[], Call]
  peers: dict[str, Callable[[], Call]]
  unit: str = 'tokens'
  accelerator: bool = False


def zoo_step(objective: Any, tx: Any, examples: dict[str, np.ndarray]) -> Call:
  """Our training step as scripts/train.py runs it: its step, donation, compiler options."""
  import jax
  import jax.numpy as jnp

  from zoo import platform
  from zoo.training.step import init_state, make_train_step

  batch = jax.tree.map(jnp.asarray, examples)  # 64 bits become 32
  state = jax.jit(lambda key: init_state(objective, tx, batch, key))(jax.random.key(0))
  step = jax.jit(
    make_train_step(objective, tx),
    donate_argnums=0,
    compiler_options=platform.compiler_options(jax.default_backend()),
  )

  def call() -> None:
    nonlocal state
    state, _ = step(state, batch)
    jax.block_until_ready(state)

  return call
