import jax
import numpy as np
import pytest

from tests import fake_data
from zoo.data import arrays, dataset, joint, semi, views


def numbers(*values):
  return {'x': np.array(values, np.float32), 'label': np.arange(len(values), dtype=np.int32)}


def test_a_joint_source_draws_what_its_parts_draw():
  parts = {'b': arrays.epochs(numbers(1, 2, 3), 2), 'a': arrays.epochs(numbers(*range(10, 17)), 4)}
  source = joint.join(parts)
  assert source.on_device and source.num_batches is None
  assert {k: v['x'].shape for k, v in source.spec.items()} == {'a': (4,), 'b': (2,)}
  state = source.init(jax.random.key(0))
  seen = {'a': [], 'b': []}
  draw, draw_parts = jax.jit(source.next), {k: jax.jit(part.next) for k, part in parts.items()}
  for _ in range(21):
    expected = {k: draw_parts[k](state[k], None, source.data[k]) for k in parts}
    state, batch = draw(state, None, source.data)
    for name, (_, drawn) in expected.items():
      np.testing.assert_array_equal(batch[name]['x'], drawn['x'])
      seen[name] += batch[name]['x'].tolist()
  assert sorted(seen['a']) == sorted([*range(10, 17)] * 12)  # whole epochs of its own length
  assert sorted(seen['b']) == sorted([1, 2, 3] * 14)
  keys = [jax.random.key_data(state[name]['key']).tolist() for name in parts]
  assert keys[0] != keys[1]


def test_sources_that_cannot_be_joined():
  endless, ending = arrays.epochs(numbers(1, 2), 2), arrays.one_pass(numbers(1, 2), 2)
  with pytest.raises(ValueError, match='only endless'):
    joint.join({'a': endless, 'b': ending})
  with pytest.raises(ValueError, match='on the host'):
    joint.join({'a': endless, 'b': endless._replace(on_device=False)})


def test_of_parts_changes_a_batch_or_each_of_its_parts():
  double = joint.of_parts(lambda batch: {**batch, 'x': batch['x'] * 2})
  assert double({'x': 3, 'label': 1}) == {'x': 6, 'label': 1}
  assert double({'a': {'x': 3}, 'b': {'x': 4}}) == {'a': {'x': 6}, 'b': {'x': 8}}


def test_views_of_labeled_and_unlabeled_examples():
  noise = lambda scale: lambda key, batch: {'x': batch['x'] + scale * jax.random.uniform(key, (3,))}
  make = views.weak_and_strong(noise(1.0), noise(10.0))
  zeros = {'x': np.zeros(3, np.float32)}
  key = jax.random.key(0)
  out = make(key, {'labeled': zeros, 'unlabeled': zeros})
  assert set(out) == {'labeled', 'weak', 'strong'}
  assert not np.any(out['labeled']['x'] == out['weak']['x'])  # each has a key of its own
  assert out['weak']['x'].max() <= 1 < out['strong']['x'].max()
  np.testing.assert_array_equal(
    make(key, {'labeled': zeros, 'unlabeled': zeros})['strong']['x'], out['strong']['x']
  )
  assert make(key, zeros) is zeros  # as evaluation has it


def test_semi_supervised_data(monkeypatch):
  records = fake_data.make_records((4, 4, 1), 5)
  monkeypatch.setattr(dataset, 'open_records', lambda *_: records)
  load = lambda **options: semi.load_semi_supervised(batch_size=8, unlabeled_ratio=3, **options)
  found = load(labels_per_class=2, draw=1)
  assert {k: v['image'].shape[0] for k, v in found.train.spec.items()} == {
    'labeled': 8,
    'unlabeled': 24,
  }
  assert sorted(found.train.data['labeled']['label']) == sorted([*range(5)] * 2)
  assert len(found.train.data['unlabeled']['label']) == len(records)
  everything = dataset.load_dataset()
  assert found.statistics is not None and everything.statistics is not None
  np.testing.assert_array_equal(found.statistics['mean'], everything.statistics['mean'])
  other = load(labels_per_class=2, draw=2)
  assert not np.array_equal(
    other.train.data['labeled']['image'], found.train.data['labeled']['image']
  )
  with pytest.raises(ValueError, match='labels_per_class=13 asks for more'):
    load(labels_per_class=13)  # of two classes there are 12
  with pytest.raises(ValueError, match='unlabeled_ratio must be at least 1'):
    semi.load_semi_supervised(unlabeled_ratio=0)
