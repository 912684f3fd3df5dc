"""Agents by name: what each is, on a config that has the environment."""

import runpy

import jax
import pytest

from tests.scripts import command
from zoo.experiment import complete_config, make_experiment
from zoo.presets import AGENTS, agent

GET_CONFIG = runpy.run_path(str(command.ROOT / 'configs' / 'cartpole_dqn.py'))['get_config']


@pytest.mark.parametrize(
  ('name', 'outputs'),
  [
    ('nature', (2,)),
    ('double', (2,)),
    ('rainbow', (2, 51)),
    ('qr', (2, 200)),
    ('iqn', (2, 32)),
    ('munchausen', (2,)),
  ],
)
def test_an_agent_is_a_config_with_another_head_or_loss(name, outputs):
  config = complete_config(GET_CONFIG(name).to_dict())
  experiment = make_experiment(config, devices=jax.devices()[:1])
  objective, spec = experiment.objective, experiment.dataset.train.spec
  key = jax.eval_shape(lambda: jax.random.key(0))
  params, extras = jax.eval_shape(objective.init, key, spec)
  module, variables = experiment.module, {'params': params}
  made = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, spec['s_tm1'])
  assert made.shape[1:] == outputs
  loss, (_, scalars) = jax.eval_shape(objective.loss, params, extras, spec, key)
  assert loss.shape == scalars['q'].shape == ()
  assert ('importance' in spec) == (name == 'rainbow')
  assert set(AGENTS) >= {name}


def test_an_unknown_agent_is_answered_with_the_nearest():
  with pytest.raises(ValueError, match=r"'rainbw'.*rainbow"):
    agent('rainbw')
