"""Random keys of examples: what is drawn for one does not depend on the batch it is in."""

import jax
import jax.numpy as jnp

from zoo.types import Array


def keys_of(key: Array, pictures: Array) -> Array:
  """Returns typed keys [B], each determined by `key` and a picture's values, rounded to 8 bits.

  So what an example goes through in an evaluation is the same in any batch, at any place, on any
  device, and under every model. Equal pictures have equal keys.

  Args:
    key: typed key [].
    pictures: float [B, ...], in [0, 1].
  """
  values = jnp.round(255 * pictures.astype(jnp.float32)).reshape(len(pictures), -1)
  weights = jax.random.bits(key, values.shape[1:])
  hashes = jnp.sum(values.astype(jnp.int32).astype(jnp.uint32) * weights[None], axis=1)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, hashes)
