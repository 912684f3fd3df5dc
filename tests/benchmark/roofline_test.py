import jax
import pytest

from zoo.benchmark import peaks
from zoo.benchmark.peaks import Peak
from zoo.benchmark.roofline import attainable, judge

PEAK = Peak(flops=1e12, bandwidth=1e11)  # they meet at ten FLOPs a byte
ROW = {'devices': 2, 'steps_per_call': 1, 'step_ms': {'median': 10.0}}


def test_below_the_ridge_memory_limits_and_above_it_the_products():
  assert attainable(2.0, PEAK) == 2e11
  assert attainable(50.0, PEAK) == 1e12


def test_a_row_is_judged_by_what_one_device_did():
  row = ROW | {'model_flops': 4e9, 'xla_flops': 3e9, 'xla_bytes': 6e8}
  found = judge(row, PEAK, Peak(2e12, 4e11))
  assert found['mfu'] == pytest.approx(0.2)  # 4 GFLOP in 10 ms on two devices: 200 GFLOP/s each
  assert found['mfu_datasheet'] == pytest.approx(0.1)
  assert found['intensity'] == 5.0
  assert (found['bound'], found['roofline']) == ('memory', pytest.approx(0.4))


def test_what_xla_does_not_tell_is_left_out():
  found = judge(ROW | {'model_flops': 4e9, 'xla_flops': None, 'xla_bytes': None}, PEAK, None)
  looped = ROW | {'model_flops': 4e9, 'xla_flops': 3e9, 'xla_bytes': 6e8, 'steps_per_call': 32}
  assert judge(looped, PEAK, None) == found
  assert found['mfu'] == pytest.approx(0.2)
  assert [found[name] for name in ('mfu_datasheet', 'intensity', 'bound', 'roofline')] == [None] * 4


def test_a_device_is_known_by_the_longest_name_it_begins_with():
  rate = lambda kind, dtype='bfloat16': peaks.published(dtype, kind)
  assert rate('NVIDIA H200') == Peak(989.4e12, 4.8e12)
  assert rate('NVIDIA H100 80GB HBM3') == Peak(989.4e12, 3.35e12)
  assert rate('NVIDIA H100 PCIe') == Peak(756e12, 2e12)
  assert rate('NVIDIA A100-SXM4-80GB', 'float32') == Peak(156e12, 2.039e12)
  assert rate('TPU v5 lite') == Peak(197e12, 0.819e12)
  assert rate('TPU v5p') == Peak(459e12, 2.765e12)
  assert rate('Tesla T4') is None  # which has no bfloat16
  assert rate('cpu') is None
  assert len({*peaks.DATASHEETS}) == len(peaks.DATASHEETS)


@pytest.mark.slow
def test_a_peak_is_measured():
  found = peaks.measured('float32', jax.devices()[0])
  assert found.flops > 1e9 and found.bandwidth > 1e8
  assert peaks.measured('float32', jax.devices()[0]) is found  # once in a process
