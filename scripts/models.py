"""Lists the models of the zoo: name, parameters, input, and where they come from.

python scripts/models.py ['resnet*']
"""

import jax
import jax.numpy as jnp

from zoo import cli
from zoo.experiment import MODELS, create_model, list_models
from zoo.names import unknown


def main(argv: list[str]) -> int:
  patterns = argv[1:] or ['*']
  names = sorted({name for pattern in patterns for name in list_models(pattern)})
  if not names:
    raise unknown('model', ' '.join(patterns), MODELS)
  rows = [('name', 'parameters', 'input', 'source')]
  for name in names:
    entry = MODELS[name]
    shape = ' x '.join(map(str, entry.input_shape))
    rows.append((name, f'{count_parameters(name):,}', shape, entry.reference))
  widths = [max(len(row[i]) for row in rows) for i in range(3)]
  for name, parameters, shape, source in rows:
    print(f'{name:{widths[0]}}  {parameters:>{widths[1]}}  {shape:{widths[2]}}  {source}')
  return 0


def count_parameters(name: str) -> int:
  """Parameters of a model on its published input; nothing is computed."""
  x = jnp.zeros((1, *MODELS[name].input_shape))
  init = lambda key: create_model(name).init(key, x, train=False)
  shapes = jax.eval_shape(init, jax.random.key(0))['params']
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


if __name__ == '__main__':
  cli.run(main)
