import jax
import jax.numpy as jnp
import pytest

from zoo.benchmark import hlo

TEXT = """HloModule jit_step, is_scheduled=true

%region (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%fused (p: f32[8,4]) -> f32[4] {
  %p = f32[8,4]{1,0} parameter(0)
  %zero = f32[] constant(0)
  ROOT %sum = f32[4]{0} reduce(%p, %zero), dimensions={0}, to_apply=%region
}

%body (c: (s32[], f32[4])) -> (s32[], f32[4]) {
  %c = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%c), index=1
  %all-reduce.1 = f32[4]{0} all-reduce(%x), replica_groups={{0,1}}, to_apply=%region
  ROOT %t = (s32[], f32[4]{0}) tuple(%c, %all-reduce.1)
}

%condition (c: (s32[], f32[4])) -> pred[] {
  %c = (s32[], f32[4]{0}) parameter(0)
  ROOT %lt = pred[] constant(true)
}

ENTRY %main (w: f32[8,4], h: bf16[6]) -> (f32[4], bf16[12]) {
  %w = f32[8,4]{1,0} parameter(0)
  %h = bf16[6]{0} parameter(1)
  %fusion.1 = f32[4]{0} fusion(%w), kind=kLoop, calls=%fused, metadata={op_name="jit(f)/Norm/sum"}
  %dot.1 = f32[8,8]{1,0} dot(%w, %w), metadata={op_name="jit(f)/attention/dot_general"}
  %dot.2 = f32[8,8]{1,0} dot(%w, %w), metadata={op_name="jit(f)/Dense_0/dot_general"}
  %custom-call.1 = f32[8,8]{1,0} custom-call(%w), custom_call_target="__cublas$gemm"
  %copy.1 = f32[8,4]{0,1} copy(%w)
  %while.1 = (s32[], f32[4]{0}) while(%fusion.1), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"12"}}
  %gather-start = (bf16[6]{0}, bf16[12]{0}) all-gather-start(%h), dimensions={0}
  %gather-done = bf16[12]{0} all-gather-done(%gather-start)
  ROOT %out = (f32[4]{0}, bf16[12]{0}) tuple(%fusion.1, %gather-done)
}
"""


def test_instructions_are_sorted_by_what_they_compute():
  kinds = hlo.kinds(TEXT)
  assert kinds['fusion.1'] == ('reduction', 'jit(f)/Norm/sum')
  assert kinds['dot.1'][0] == 'attention'
  assert kinds['dot.2'] == ('matmul', 'jit(f)/Dense_0/dot_general')
  assert kinds['custom-call.1'][0] == 'matmul'
  assert kinds['copy.1'][0] == 'copy'
  assert kinds['all-reduce.1'][0] == kinds['gather-done'][0] == 'collective'
  assert kinds['add'][0] == 'elementwise'
  assert {kind for kind, _ in kinds.values()} <= {*hlo.KINDS}


def test_a_collective_in_a_loop_counts_as_often_as_it_runs():
  # 12 times four float32; and twelve bfloat16, whose six operands count as nothing that arrives,
  # but for a half of what start has: nine of two bytes.
  assert hlo.traffic(TEXT) == ({'all-reduce': 12, 'all-gather': 1}, 12 * 16 + 18)


@pytest.mark.parametrize(
  ('shape', 'size'),
  [('f32[8,3]{1,0}', 96), ('(bf16[4]{0}, s32[], pred[7])', 19), ('f8e4m3fn[16]{0}', 16)],
)
def test_bytes_of_a_shape(shape, size):
  assert hlo.array_bytes(shape) == size


def test_a_real_program_is_read():
  def step(x, w):
    def body(c, _):
      return jax.lax.psum(jnp.tanh(c @ w), 'data'), None

    return jax.lax.scan(body, x, length=5)[0]

  call = jax.pmap(step, axis_name='data', in_axes=(0, None))
  text = call.lower(jnp.ones((8, 4, 4)), jnp.ones((4, 4))).compile().as_text()
  assert hlo.traffic(text) == ({'all-reduce': 5}, 5 * 4 * 4 * 4)
  assert {'collective', 'matmul'} <= {kind for kind, _ in hlo.kinds(text).values()}
