"""Spreads one computation over devices in three ways that give the same parameters.

- jit: one device.
- pmap: data parallelism. Every device runs the step on its share of the batch, and the step
  averages over the axis 'data'. The state has no device axis: it goes in and out with axis None.
  (JAX keeps `jax.pmap` in maintenance mode; since 0.8 it is `jit` of `shard_map` underneath.)
- sharded: `jit` over a mesh. The program is written for the whole batch, and XLA spreads it;
  `rules` place parameters too, for models that do not fit one device.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zoo import paths, platform
from zoo.names import unknown
from zoo.types import PyTree

STRATEGIES = ('auto', 'jit', 'pmap', 'sharded')
AXIS = 'data'


@dataclass(frozen=True)
class Placement:
  """Where an array lives: `axis` is 0 if devices hold shares of its leading axis, None if not."""

  axis: int | None
  sharding: NamedSharding


@dataclass(frozen=True)
class Parallel:
  """A strategy on given devices.

  Attributes:
    strategy: 'jit', 'pmap' or 'sharded'.
    mesh: the devices; the axis 'data' and, if asked for, others.
    rules: (regular expression, axis names) pairs: a shared array whose whole path matches, such as
      'params/Dense_0/kernel', has its axes laid along those mesh axes. The first match counts.
  """

  strategy: str
  mesh: Mesh
  rules: Sequence[tuple[str, tuple[str | None, ...]]] = ()

  @property
  def axis_name(self) -> str | None:
    """The axis over which the step averages: bound under pmap alone."""
    return AXIS if self.strategy == 'pmap' else None

  @property
  def num_shards(self) -> int:
    """How many shares a batch is split into."""
    return math.prod(self.mesh.shape[a] for a in self._batch_axes)

  @property
  def _batch_axes(self) -> tuple[str, ...]:
    return tuple(a for a in self.mesh.axis_names if a in (AXIS, 'fsdp'))

  @property
  def everywhere(self) -> Placement:
    """For whatever all devices hold whole."""
    return Placement(None, NamedSharding(self.mesh, PartitionSpec()))

  def shared(self, tree: PyTree) -> PyTree:
    """A Placement for each leaf of what all devices work on together: state, metrics, a dataset."""

    def place(path: Any, leaf: Any) -> Placement:
      name = paths.path_str(path)
      spec = next((spec for pattern, spec in self.rules if paths.match(pattern, name)), ())
      # Optimisers keep scalars and factored moments under the path of a parameter.
      fits = len(spec) <= leaf.ndim and all(
        a is None or n % self.mesh.shape[a] == 0 for a, n in zip(spec, leaf.shape, strict=False)
      )
      return Placement(None, NamedSharding(self.mesh, PartitionSpec(*spec if fits else ())))

    return jax.tree.map_with_path(place, tree)

  def split(self, tree: PyTree) -> PyTree:
    """A Placement for each leaf of what is split along its leading axis; scalars are shared.

    Raises:
      ValueError: a leading axis does not divide.
    """

    def place(leaf: Any) -> Placement:
      if leaf.ndim == 0:
        return self.everywhere
      if leaf.shape[0] * jax.process_count() % self.num_shards:
        raise ValueError(
          f'a batch of {leaf.shape[0]} cannot be divided among {self.num_shards} devices'
        )
      return Placement(0, NamedSharding(self.mesh, PartitionSpec(self._batch_axes)))

    return jax.tree.map(place, tree)

  def put(self, tree: PyTree, placement: PyTree) -> PyTree:
    """Places host or device arrays, without waiting for the transfer."""
    processes = jax.process_count()

    def move(x: Any, p: Placement) -> jax.Array:
      if p.axis == 0 and self.strategy == 'pmap':  # [B, ...] -> [devices, B / devices, ...]
        shares = self.num_shards // processes
        x = x.reshape(shares, x.shape[0] // shares, *x.shape[1:])
      if p.axis == 0 and processes > 1:  # each process holds its own part of the batch
        return jax.make_array_from_process_local_data(p.sharding, np.asarray(x))
      return jax.device_put(x, p.sharding)

    return jax.tree.map(move, tree, placement)

  def merge(self, tree: PyTree, placement: PyTree) -> PyTree:
    """Undoes the split of `put`, so that what is saved has the same shapes under every strategy."""
    if self.strategy != 'pmap':
      return tree
    return jax.tree.map(
      lambda x, p: x if p.axis is None else x.reshape(-1, *x.shape[2:]), tree, placement
    )

  def compile(
    self, fn: Callable[..., Any], inputs: tuple, outputs: Any, donate: tuple[int, ...] = ()
  ) -> Callable[..., Any]:
    """Compiles `fn` on first use.

    Args:
      fn: pure; under pmap it sees one device's share of what is split, else the whole.
      inputs: for each argument a tree of Placement, or one Placement for all its leaves.
      outputs: the same for what it returns.
      donate: the arguments whose buffers the result may take over.
    """
    shardings = jax.tree.map(lambda p: p.sharding, (inputs, outputs))
    if self.strategy == 'pmap':
      return jax.pmap(
        fn,
        axis_name=AXIS,
        in_axes=tuple(map(axes, inputs)),
        out_axes=tuple(map(axes, outputs)) if isinstance(outputs, tuple) else axes(outputs),
        devices=list(self.mesh.devices.flat),
        donate_argnums=donate,
      )
    return jax.jit(
      fn,
      in_shardings=shardings[0],
      out_shardings=shardings[1],
      donate_argnums=donate,
      compiler_options=platform.compiler_options(self.mesh.devices.flat[0].platform),
    )


def axes(placement: PyTree) -> Any:
  """The axes of a tree of Placement for pmap; a single one where all agree, as None must be."""
  each = [p.axis for p in jax.tree.leaves(placement)]
  return jax.tree.map(lambda p: p.axis, placement) if len(set(each)) > 1 else (each or [None])[0]


def parallelize(
  strategy: str = 'auto',
  devices: Sequence[Any] | None = None,
  *,
  mesh_shape: Mapping[str, int] | None = None,
  rules: Sequence[tuple[str, tuple[str | None, ...]]] = (),
) -> Parallel:
  """Chooses devices and a way to use them.

  Args:
    strategy: 'jit', 'pmap', 'sharded', or 'auto': pmap if there are several devices, else jit.
    devices: of `jax.devices()`, all by default; jit takes the first.
    mesh_shape: sharded only: size per axis, of 'data', 'fsdp' (splits batch and parameters) and
      'tensor' (splits parameters). All devices on 'data' by default.
    rules: sharded only: where parameters go, see `Parallel`.

  Raises:
    ValueError: unknown strategy, or a mesh of another size than the devices.
  """
  if strategy not in STRATEGIES:
    raise unknown('strategy', strategy, STRATEGIES)
  devices = list(jax.devices() if devices is None else devices)
  if strategy == 'auto':
    strategy = 'pmap' if len(devices) > 1 else 'jit'
  if strategy == 'jit':
    devices = devices[:1]
  if strategy != 'sharded' and (mesh_shape or rules):
    raise ValueError(f'mesh_shape and rules place parameters under sharded, not under {strategy}')
  mesh_shape = dict(mesh_shape or {AXIS: len(devices)})
  if math.prod(mesh_shape.values()) != len(devices):
    raise ValueError(
      f'a mesh of {mesh_shape} needs {math.prod(mesh_shape.values())} devices, not {len(devices)}'
    )
  grid = np.array(devices, dtype=object).reshape(*mesh_shape.values())
  # Auto: XLA decides what the program does not say. jax.make_mesh would make the axes explicit.
  mesh = Mesh(grid, tuple(mesh_shape), axis_types=(AxisType.Auto,) * len(mesh_shape))
  return Parallel(strategy, mesh, tuple(rules))
