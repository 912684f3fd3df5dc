"""Lists the models of the zoo: name, parameters, input, and where they come from.

python scripts/models.py ['resnet*']
"""

import jax

from zoo import cli
from zoo.catalog import MODELS, example_batch, list_models, published
from zoo.names import unknown


def main(argv: list[str]) -> int:
  patterns = argv[1:] or ['*']
  names = sorted({name for pattern in patterns for name in list_models(pattern)})
  if not names:
    raise unknown('model', ' '.join(patterns), MODELS)
  rows = [('name', 'parameters', 'example', 'source')]
  for name in names:
    rows.append((name, f'{count_parameters(name):,}', example(name), MODELS[name].reference))
  widths = [max(len(row[i]) for row in rows) for i in range(3)]
  for name, parameters, shape, source in rows:
    print(f'{name:{widths[0]}}  {parameters:>{widths[1]}}  {shape:{widths[2]}}  {source}')
  return 0


def example(name: str) -> str:
  """The leaves of a published example, but for single numbers such as a label."""
  leaves = MODELS[name].example.items()
  return ', '.join(f'{leaf} {" x ".join(map(str, shape))}' for leaf, (shape, _) in leaves if shape)


def count_parameters(name: str) -> int:
  """Parameters of a model with its published objective; nothing is computed."""
  params, _ = jax.eval_shape(published(name).init, jax.random.key(0), example_batch(name, 1))
  return sum(leaf.size for leaf in jax.tree.leaves(params))


if __name__ == '__main__':
  cli.run(main)
