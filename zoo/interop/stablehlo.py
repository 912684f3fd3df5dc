"""A model as a program: StableHLO for CPU, CUDA and TPU, run without any code of ours."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from zoo import paths
from zoo.interop.tensors import PathLike, write_tensors
from zoo.types import PyTree

PLATFORMS = ('cpu', 'cuda', 'tpu')
PROGRAM = 'model.stablehlo'
README = """# A model as a program

`model.stablehlo` holds the program, `model.safetensors` its parameters, `signature.json` what it
takes and gives. Sizes that are letters may be anything that the constraints allow. To run it:

```python
import jax.export
import numpy as np
from safetensors.numpy import load_file

program = jax.export.deserialize(bytearray(open('model.stablehlo', 'rb').read()))
outputs = jax.jit(program.call)(load_file('model.safetensors'), INPUTS)
```

INPUTS is a dict of arrays:

"""


def export(
  fn: Callable[[PyTree, PyTree], PyTree],
  variables: PyTree,
  spec: Mapping[str, jax.ShapeDtypeStruct],
  folder: PathLike,
) -> None:
  """Writes the program of a function, its parameters and how to load both.

  Args:
    fn: (variables, inputs) -> outputs, jittable on every platform: no kernels of one alone.
    variables: nested dicts of arrays, the first argument. They are no part of the program.
    spec: of the inputs, from `symbolic`. Those without an influence become no inputs.
    folder: where to write; made if need be.
  """
  folder = pathlib.Path(folder)
  flat = {path: np.asarray(x) for path, x in paths.named_leaves(variables)}
  types = {path: jax.ShapeDtypeStruct(x.shape, x.dtype) for path, x in flat.items()}
  inputs = dict(spec)

  def program(tensors: dict[str, jax.Array], given: dict[str, jax.Array]) -> PyTree:
    # What the function reads but its outputs do not depend on, such as labels, is no argument.
    rest = {n: jnp.zeros(x.shape, x.dtype) for n, x in spec.items() if n not in given}
    unused = {n: jnp.zeros(x.shape, x.dtype) for n, x in flat.items() if n not in tensors}
    return fn(flax.traverse_util.unflatten_dict(tensors | unused, sep='/'), given | rest)

  # With symbolic sizes every argument is kept, so what is used is asked with sizes of 1.
  first = jax.export.export(jax.jit(program), platforms=PLATFORMS[:1])(
    types, {name: jax.ShapeDtypeStruct(ones(x.shape), x.dtype) for name, x in inputs.items()}
  )
  used = [i in first.module_kept_var_idx for i in range(len(first.in_avals))]
  types, inputs = (
    {name: x for (name, x), keep in zip(sorted(tree.items()), flags, strict=True) if keep}
    for tree, flags in ((types, used[: len(types)]), (inputs, used[len(types) :]))
  )
  exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(types, inputs)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / PROGRAM).write_bytes(exported.serialize())
  write_tensors(folder, {name: flat[name] for name in types})
  described = lambda tree: {path: describe(x) for path, x in paths.named_leaves(tree)}
  outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
  signature = {
    'inputs': described(inputs),
    'outputs': {path or 'output': x for path, x in described(outputs).items()},
    'platforms': list(PLATFORMS),
  }
  text = json.dumps(signature, indent=2)
  (folder / 'signature.json').write_text(text + '\n')
  (folder / 'README.md').write_text(f'{README}```json\n{text}\n```\n')


def symbolic(
  spec: Mapping[str, Any], axes: Mapping[str, tuple[str, ...]], most: Mapping[str, int]
) -> dict[str, jax.ShapeDtypeStruct]:
  """Gives leading axes names, so that the program takes any size of them.

  Args:
    spec: shape and type by name of the input.
    axes: the names of the first axes of each input, such as ('b', 't').
    most: the greatest size of an axis, where there is one.
  """
  scope = jax.export.SymbolicScope([f'{name} <= {size}' for name, size in most.items()])
  found = {}
  for name, leaf in spec.items():
    letters = axes[name]
    sizes = jax.export.symbolic_shape(','.join(letters), scope=scope)
    found[name] = jax.ShapeDtypeStruct((*sizes, *leaf.shape[len(letters) :]), leaf.dtype)
  return found


def ones(shape: tuple[Any, ...]) -> tuple[int, ...]:
  """The shape with 1 in the place of every symbol."""
  return tuple(size if isinstance(size, int) else 1 for size in shape)


def describe(leaf: Any) -> str:
  return f'{np.dtype(leaf.dtype).name}[{", ".join(str(size) for size in leaf.shape)}]'
