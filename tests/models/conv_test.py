import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import conv, conv_cpu


def gradients(module, variables, x, dy):
  """The result, and the gradients of parameters and input along dy."""

  @jax.jit
  def call(variables, x):
    y, vjp = jax.vjp(module.apply, variables, x)
    return y, vjp(dy(y))

  return call(variables, x)


def both(ours, theirs, shape):
  x = jax.random.normal(jax.random.key(1), shape)
  variables = theirs.init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
    jnp.shape, ours.init(jax.random.key(0), x)
  )
  dy = lambda y: jax.random.normal(jax.random.key(2), y.shape)
  found, expected = (gradients(m, variables, x, dy) for m in (ours, theirs))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)


@pytest.mark.parametrize('padding', ['SAME', 'VALID', ((1, 2), (0, 1))])
@pytest.mark.parametrize(('kernel', 'strides'), [((3, 3), 1), ((3, 3), 2), ((4, 2), (2, 1))])
def test_conv_has_the_gradients_of_flax(kernel, strides, padding):
  make = lambda **kw: nn.Conv(5, kernel, strides, padding=padding, **kw)
  both(make(conv_general_dilated=conv.conv), make(), (2, 7, 9, 3))


@pytest.mark.parametrize('cache', [1, 4000])
def test_a_batch_in_parts_has_the_same_gradients(cache, monkeypatch):
  monkeypatch.setattr(conv_cpu, 'CACHE_BYTES', cache)
  make = lambda **kw: nn.Conv(5, (3, 2), (2, 1), **kw)
  both(make(conv_general_dilated=conv.conv), make(), (6, 7, 9, 3))
  args = (5, (4, 4), (2, 2))
  both(conv.ConvTranspose(*args), nn.ConvTranspose(*args), (6, 4, 5, 3))


def test_parts_are_equal_and_fit_if_they_can():
  assert conv_cpu.parts(128, conv_cpu.CACHE_BYTES // 128) == 1
  assert conv_cpu.parts(128, conv_cpu.CACHE_BYTES // 10) == 16  # 8 at a time
  assert conv_cpu.parts(6, conv_cpu.CACHE_BYTES // 4) == 2
  assert conv_cpu.parts(7, conv_cpu.CACHE_BYTES // 2) == 7
  assert conv_cpu.parts(4, 2 * conv_cpu.CACHE_BYTES) == 4


WAYS = {  # places of x, window, strides, padding, up
  'a map of one place': ((1, 1), (3, 3), (1, 1), 'SAME', (1, 1)),
  'a map smaller than the kernel': ((2, 1), (3, 3), (1, 1), 'SAME', (1, 1)),
  'the same, strided': ((2, 2), (3, 4), (2, 1), ((0, 1), (2, 1)), (1, 1)),
  'nothing met': ((1, 1), (2, 2), (1, 1), ((3, 0), (0, 1)), (1, 1)),
  'large': ((6, 7), (3, 3), (1, 1), 'SAME', (1, 1)),
  'large and strided': ((7, 6), (3, 2), (2, 2), 'SAME', (1, 1)),
  'transposed': ((4, 5), (4, 3), (1, 1), ((2, 2), (2, 1)), (2, 2)),
  'transposed, one place': ((1, 1), (4, 4), (1, 1), ((2, 2), (2, 2)), (2, 2)),
  'transposed, with gaps': ((3, 4), (2, 1), (1, 1), ((1, 3), (0, 2)), (3, 2)),
}


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('case', WAYS)
def test_ways_of_a_cpu_are_those_of_xla(case, dtype, monkeypatch):
  """The result and both gradients, of what is small and of what counts as large."""
  places, window, strides, padding, up = WAYS[case]
  for name in ('LARGE_KERNEL', 'LARGE_RESULT', 'ROW_BYTES', 'ROW_CHANNELS'):
    monkeypatch.setattr(conv_cpu, name, 1)
  x = jax.random.normal(jax.random.key(1), (3, *places, 2), dtype)
  kernel = jax.random.normal(jax.random.key(2), (*window, 2, 4), dtype)

  def call(function):
    y, vjp = jax.vjp(lambda x, kernel: function(x, kernel, strides, padding, up), x, kernel)
    return y, vjp(jnp.cos(y))

  plain = lambda *args: jax.lax.conv_general_dilated(*args, dimension_numbers=conv_cpu.NHWC)
  found, expected = (jax.jit(lambda f=f: call(f))() for f in (conv.conv, plain))
  types = lambda tree: [leaf.dtype for leaf in jax.tree.leaves(tree)]
  assert types(found) == types(expected)
  close(found, expected, dtype)
  pads = padding
  if isinstance(padding, str):
    pads = tuple(jax.lax.padtype_to_pads(places, window, strides, padding))
  how = conv_cpu.How(places, window, strides, pads, up)
  assert how.results() == expected[0].shape[1:3]
  assert how.backward().results() == places
  assert conv_cpu.is_slow(x, kernel, how)


def test_what_xla_is_fast_at_is_left_to_it():
  how = conv_cpu.How((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
  x, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 5))
  program = jax.jit(lambda x, kernel: conv.conv(x, kernel, (1, 1), 'SAME')).lower(x, kernel)
  assert not conv_cpu.is_slow(x, kernel, how)
  assert program.as_text().count('stablehlo.convolution') == 1
  assert 'stablehlo.dot_general' not in program.as_text()


@pytest.mark.parametrize(
  ('kernel', 'strides'), [((4, 4), (2, 2)), ((3, 3), (2, 1)), ((2, 2), (3, 3)), ((3, 5), (1, 1))]
)
def test_transposed_has_the_results_and_gradients_of_flax(kernel, strides):
  both(conv.ConvTranspose(5, kernel, strides), nn.ConvTranspose(5, kernel, strides), (2, 4, 5, 3))


@pytest.mark.parametrize(
  'options',
  [{'feature_group_count': 3}, {'kernel_dilation': 2}, {'padding': 'CIRCULAR'}, {'strides': 3}],
)
def test_what_is_left_to_xla(options):
  make = lambda **kw: nn.Conv(6, (3, 3), **options, **kw)
  both(make(conv_general_dilated=conv.conv), make(), (2, 6, 6, 3))


def test_a_gradient_of_a_gradient():
  """What a gradient penalty takes."""
  x = jax.random.normal(jax.random.key(1), (2, 5, 5, 2))

  def penalty(module):
    variables = module.init(jax.random.key(0), x)
    score = lambda variables, x: jnp.sum(jnp.tanh(module.apply(variables, x)))
    norm = lambda variables: jnp.sum(jax.grad(score, 1)(variables, x) ** 2)
    return jax.jit(jax.grad(norm))(variables)

  found = penalty(conv.Conv(3, (3, 3)))
  expected = penalty(nn.Conv(3, (3, 3)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


HOWS = {
  'plain': ((3, 3), (1, 1), 'SAME', (1, 1)),
  'strided': ((3, 2), (2, 1), ((1, 2), (0, 1)), (1, 1)),
  'transposed': ((4, 4), (1, 1), ((2, 2), (2, 2)), (2, 2)),
  '1 x 1': ((1, 1), (1, 1), 'VALID', (1, 1)),
  'strided 1 x 1': ((1, 1), (2, 2), 'VALID', (1, 1)),
  'tiles': ((2, 2), (2, 2), 'VALID', (1, 1)),
}


def value_and_gradients(how):
  window, strides, padding, up = how

  def call(x, kernel):
    function = lambda x, kernel: conv.conv(x, kernel, strides, padding, up)
    y, vjp = jax.vjp(function, x, kernel)
    return y, vjp(jnp.cos(y))

  arrays = lambda members, dtype: (
    jax.random.normal(jax.random.key(1), (*members, 2, 6, 8, 3), dtype),
    jax.random.normal(jax.random.key(2), (*members, *window, 3, 5), dtype),
  )
  return call, arrays


def close(found, expected, dtype):
  tolerance = 1e-4 if dtype == 'float32' else 0.05
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=tolerance, atol=tolerance
    ),
    found,
    expected,
  )


@pytest.mark.parametrize('few', [0, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize('dtype', ['float32', pytest.param('bfloat16', marks=pytest.mark.slow)])
@pytest.mark.parametrize('axes', [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize('how', HOWS)
def test_mapped_is_as_one_after_the_other(how, axes, dtype, few, monkeypatch):
  monkeypatch.setattr(conv, 'FEW_PLACES', few)
  call, arrays = value_and_gradients(HOWS[how])
  x, kernel = (a if axis == 0 else a[0] for a, axis in zip(arrays((3,), dtype), axes, strict=True))
  of = lambda a, axis, i: a if axis is None else a[i]
  one = jax.jit(call)
  each = [one(of(x, axes[0], i), of(kernel, axes[1], i)) for i in range(3)]
  expected = jax.tree.map(lambda *a: jnp.stack(a), *each)
  close(jax.jit(jax.vmap(call, axes))(x, kernel), expected, dtype)


@pytest.mark.slow
def test_mapped_twice():
  """As members are, each of which maps over environments."""
  call, arrays = value_and_gradients(HOWS['plain'])
  x, kernel = arrays((2, 3), 'float32')
  each = jax.vmap(jax.vmap(call))
  expected = [[call(x[i, j], kernel[i, j]) for j in range(3)] for i in range(2)]
  expected = jax.tree.map(
    lambda *a: jnp.stack(a).reshape(2, 3, *a[0].shape), *(y for ys in expected for y in ys)
  )
  close(jax.jit(each)(x, kernel), expected, 'float32')
  shared = jax.jit(jax.vmap(jax.vmap(call, (0, None))))(x, kernel[:, 0])
  expected = jax.vmap(lambda x, k: jax.vmap(call)(x, jnp.stack([k] * 3)))(x, kernel[:, 0])
  close(shared, expected, 'float32')


def test_a_gradient_of_a_gradient_of_members():
  call, arrays = value_and_gradients(HOWS['plain'])
  penalty = lambda x, kernel: jnp.sum(jnp.square(call(x, kernel)[1][0]))
  x, kernel = arrays((2,), 'float32')
  found = jax.jit(jax.vmap(jax.grad(penalty, (0, 1))))(x, kernel)
  each = [jax.grad(penalty, (0, 1))(x[i], kernel[i]) for i in range(2)]
  close(found, jax.tree.map(lambda *a: jnp.stack(a), *each), 'float32')


@pytest.mark.parametrize(('platform', 'grouped'), [('cpu', False), ('cuda', True)])
def test_only_on_cpus_members_are_no_groups(platform, grouped):
  call, arrays = value_and_gradients(HOWS['plain'])
  step = jax.jit(jax.vmap(call))
  program = jax.export.export(step, platforms=[platform])(*arrays((3,), 'float32')).mlir_module()
  assert ('feature_group_count = 3' in program) == grouped


def test_other_platforms_get_the_program_of_flax():
  """What is lowered for a GPU has as many convolutions, and no products in their place."""

  def lowered(**options):
    module = nn.Conv(4, (3, 3), **options)
    x = jnp.ones((2, 6, 6, 3))
    variables = module.init(jax.random.key(0), x)
    loss = lambda variables, x: jnp.sum(module.apply(variables, x) ** 2)
    step = jax.jit(jax.grad(loss, (0, 1)))
    return jax.export.export(step, platforms=['cuda'])(variables, x).mlir_module()

  ours, theirs = lowered(conv_general_dilated=conv.conv), lowered()
  for operation in ('stablehlo.convolution', 'stablehlo.dot_general'):
    assert ours.count(operation) == theirs.count(operation), operation
