"""The step, the loop and what a run keeps. Nothing here knows a family of models."""

from zoo.training.evaluate import make_evaluate
from zoo.training.loop import run, train
from zoo.training.parallel import Parallel, parallelize
from zoo.training.program import build
from zoo.training.step import init_state, make_train_step

__all__ = [
  'Parallel',
  'build',
  'init_state',
  'make_evaluate',
  'make_train_step',
  'parallelize',
  'run',
  'train',
]
