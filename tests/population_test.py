"""Several seeds at once: each member is the run that it would be by itself."""

import chex
import jax
import numpy as np
import optax
import pytest

from tests.data.interaction_test import make
from tests.training import toy
from zoo.data import arrays
from zoo.population import build_population, figures_of, member, train_population
from zoo.robust import bootstrap_interval, interquartile_mean
from zoo.training import build, make_evaluate, parallelize


def test_a_member_is_the_run_of_its_seed_and_all_compile_once():
  objective, tx = toy.objective(), optax.adam(0.01)
  source = arrays.epochs(toy.data(100), 32)
  population = build_population(objective, tx, source, steps_per_call=2)
  seeds = (3, 0, 7)
  for done, state, source_state, _ in train_population(population, source, seeds, 6, 2):
    pass
  assert done == 6 and int(state.step) == 6
  assert population.step._cache_size() == 1
  split = arrays.one_pass(toy.data(50, 1), 32)
  figures = figures_of(population.evaluate(split)(state), 3)

  program = build(objective, tx, source, parallelize('jit'), steps_per_call=2)
  single = program.init(jax.random.key(seeds[2]))
  for _ in range(3):
    single = program.step(*single, program.data)[:2]
  toy.assert_same(member(state, 2).params, single[0].params)
  toy.assert_same(member(state, 2).opt_state, single[0].opt_state)
  one, other = (dict(x) for x in (member(source_state, 2), single[1]))
  chex.assert_trees_all_equal(*(jax.random.key_data(x.pop('key')) for x in (one, other)))
  chex.assert_trees_all_equal(one, other)
  judge = make_evaluate(objective, split, parallelize('jit'), program.state)
  want = judge(single[0])
  assert figures[2] == pytest.approx(want, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('prioritized', [False, True])
def test_a_member_acts_stores_draws_and_learns_as_it_would_by_itself(prioritized):
  _, objective, source, _ = make(prioritized=prioritized, parts=2)
  tx = optax.sgd(0.1)
  population = build_population(objective, tx, source, steps_per_call=5)
  for _, state, source_state, _ in train_population(population, source, (0, 4), 10, 5):
    pass
  program = build(objective, tx, source, parallelize('jit'), steps_per_call=5)
  single = program.init(jax.random.key(4))
  for _ in range(2):
    single = program.step(*single, ())[:2]
  toy.assert_same(member(state, 1).params, single[0].params)
  toy.assert_same(member(state, 1).extras, single[0].extras)
  for name in ('replay', 'environment', 'time', 'lane'):
    chex.assert_trees_all_equal(member(source_state, 1)[name], single[1][name])


def test_sources_on_the_host_are_refused():
  with pytest.raises(ValueError, match='only sources on the device'):
    build_population(toy.objective(), optax.sgd(0.1), toy.host_source(toy.data(10), 4))


def test_the_interquartile_mean_is_that_of_the_middle_half():
  assert interquartile_mean(np.array([-100, 1, 3, 900])) == 2
  assert interquartile_mean(np.arange(8)) == pytest.approx(3.5)
  # Of five each is a fifth: of the second and of the fourth three quarters are inside.
  want = (0.15 * 2 + 0.2 * 4 + 0.15 * 10) / 0.5
  assert interquartile_mean(np.array([0, 2, 4, 10, 50])) == pytest.approx(want)


def test_the_interval_covers_the_mean_it_was_drawn_around():
  rng, inside = np.random.default_rng(0), 0
  for seed in range(60):
    low, high = bootstrap_interval(rng.normal(size=20), draws=200, seed=seed)
    inside += low <= 0 <= high
  assert 48 <= inside <= 60  # of 95%, with so few values a little less
  assert bootstrap_interval(np.full(5, 3.0)) == (3, 3)
