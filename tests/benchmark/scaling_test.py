import pytest

from zoo.benchmark import plots, scaling
from zoo.benchmark.scaling import counts_of, line
from zoo.benchmark.workload import from_model


def test_devices_are_doubled_up_to_all():
  assert counts_of(1) == [1]
  assert counts_of(6) == [1, 2, 4, 6]
  assert counts_of(8) == [1, 2, 4, 8]


@pytest.mark.parametrize('strategy', ['pmap', pytest.param('sharded', marks=pytest.mark.slow)])
def test_devices_tell_each_other_their_gradients_and_little_else(strategy, tmp_path, monkeypatch):
  monkeypatch.setattr(scaling, 'counts_of', lambda devices: [1, devices])
  make = lambda strategy, size, devices: from_model('mlp', strategy, size, devices=devices)
  rows = [row | {'name': 'mlp'} for row in scaling.scaling(make, strategy, 2)]
  assert [(row['devices'], row['batch_size']) for row in rows] == [(1, 2), (8, 16)]
  for row in rows[1:]:
    assert 1.0 <= row['collective_bytes'] / row['gradient_bytes'] < 1.01
    assert row['collectives']['all-reduce'] >= 1
    assert row['step_ms'] is None  # of devices that share a CPU
    assert 'no times' in line(row)
  plots.draw(rows, tmp_path / 'scaling.png')
  assert (tmp_path / 'scaling.png').stat().st_size > 10_000


def test_a_picture_of_nothing_is_refused(tmp_path):
  with pytest.raises(ValueError, match='no row has a roofline'):
    plots.draw([], tmp_path / 'nothing.png')
  assert not list(tmp_path.iterdir())
