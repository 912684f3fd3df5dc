import subprocess
import sys

import numpy as np
import pytest

from zoo.training import curves

RECORDS = [
  *({'step': s, 'train/loss': 2.3 * 0.9**s, 'train/accuracy': s / 50} for s in range(1, 51)),
  {'step': 25, 'validation/loss': 0.4, 'validation/accuracy': 0.8, 'validation/f1': 0.7},
  {'step': 50, 'validation/loss': 0.3, 'validation/accuracy': 0.9, 'validation/f1': 0.75},
  *({'step': s, 'learning_rate': 1e-3} for s in range(1, 51)),
]


def points(line):
  return np.asarray(line.get_xydata(), np.float64)


def titles(figure):
  return [axes.get_title(loc='left') for axes in figure.axes]


def test_train_and_validation_share_a_panel_and_the_learning_rate_is_last():
  figure = curves.make_figure(RECORDS)
  assert titles(figure) == ['loss', 'accuracy', 'f1', 'learning rate']
  loss, accuracy, f1, rate = figure.axes
  assert [len(axes.lines) for axes in figure.axes] == [2, 2, 1, 1]
  np.testing.assert_allclose(points(loss.lines[0])[:2], [[1, 2.07], [2, 1.863]], rtol=1e-6)
  np.testing.assert_allclose(points(loss.lines[1]), [[25, 0.4], [50, 0.3]])
  _, labels = accuracy.get_legend_handles_labels()
  assert labels == ['train  1', 'validation  0.9'] and accuracy.get_legend() is not None
  assert rate.get_legend() is None
  same_colour = {axes.lines[-1].get_color() for axes in (loss, accuracy, f1)}
  assert len(same_colour) == 1 and loss.lines[0].get_color() not in same_colour


def test_members_differ_by_a_band_around_their_mean():
  names = {'loss': 2.0, 'loss_members_std': 0.5, 'return': 9.0, 'return_members_std': 1.0}
  names |= {'return_iqm': 9.5, 'return_low': 8.0, 'return_high': 10.0}
  records = [{'step': s} | {f'validation/{k}': v for k, v in names.items()} for s in (5, 10)]
  figure = curves.make_figure(records)
  assert titles(figure) == ['loss', 'return', 'return iqm']
  bands = [axes.collections[0].get_paths()[0].get_extents() for axes in figure.axes]
  assert [(b.y0, b.y1) for b in bands] == [(1.5, 2.5), (8, 10), (8, 10)]


def test_only_a_curve_pressed_to_the_bottom_is_logarithmic():
  figure = curves.make_figure(RECORDS)
  assert [axes.get_yscale() for axes in figure.axes] == ['log', 'linear', 'linear', 'linear']
  steps = np.arange(1, 101)
  assert curves.fits_log_scale(10.0 ** (-steps / 20))
  assert not curves.fits_log_scale(1 + np.cos(np.pi * steps / 101))  # a cosine schedule
  assert not curves.fits_log_scale(1 - 10.0 ** (-steps / 20))  # an accuracy
  assert not curves.fits_log_scale(10.0 ** (-steps / 20) - 1e-3)  # not positive
  assert not curves.fits_log_scale(np.full(10, np.nan))


def test_what_is_not_finite_is_a_gap():
  records = [{'step': s, 'train/loss': v} for s, v in enumerate([1.0, np.inf, np.nan, 2.0])]
  (axes,) = curves.make_figure(records).axes
  np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1, np.nan, np.nan, 2])


def test_a_long_noisy_curve_gets_its_moving_average():
  rng = np.random.default_rng(0)
  noise = 1 + 0.3 * rng.standard_normal(400)
  records = [{'step': s, 'train/loss': v} for s, v in enumerate(noise)]
  (axes,) = curves.make_figure(records).axes
  raw, smooth = (np.asarray(line.get_ydata(), np.float64) for line in axes.lines)
  np.testing.assert_array_equal(raw, noise)
  assert smooth[200] == pytest.approx(noise[192:209].mean())  # 17 neighbours
  assert raw.std() > 3 * smooth.std()


def test_moving_average_by_hand():
  values = np.array([1.0, 2.0, np.nan, 4.0, 9.0])
  np.testing.assert_allclose(curves.moving_average(values, 3), [1.5, 1.5, np.nan, 6.5, 6.5])
  np.testing.assert_array_equal(curves.moving_average(values, 1), values)


@pytest.mark.parametrize('lines', ['', '{"step": 1, "train/loss": 0.5}\n', '{"step": 0}\n{"st'])
def test_a_log_of_any_length_becomes_a_picture(tmp_path, lines):
  (tmp_path / 'metrics.jsonl').write_text(lines)
  curves.draw_curves(tmp_path / 'metrics.jsonl', tmp_path / 'curves.png')
  assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')
  curves.draw_curves(tmp_path / 'metrics.jsonl', tmp_path / 'again.png')
  assert (tmp_path / 'again.png').read_bytes() == (tmp_path / 'curves.png').read_bytes()


@pytest.mark.slow
def test_drawing_uses_no_pyplot_and_importing_no_matplotlib(tmp_path):
  program = f"""
import sys
from zoo.training.curves import make_figure
assert 'matplotlib' not in sys.modules
make_figure([{{'step': 1, 'train/loss': 1.0}}]).savefig({str(tmp_path / 'a.png')!r})
assert 'matplotlib.pyplot' not in sys.modules
"""
  subprocess.run([sys.executable, '-c', program], check=True)
