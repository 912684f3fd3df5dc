"""Flax Linen modules: pure init and apply, no I/O, no config objects."""

from zoo.models import bert, gpt2, resnet, transformer, vit
from zoo.models.bert import BERT
from zoo.models.cnn import CNN
from zoo.models.gpt2 import GPT2
from zoo.models.lstm import GRU, LSTM
from zoo.models.mlp import MLP
from zoo.models.resnet import ResNet
from zoo.models.rnn_classifier import RNNClassifier
from zoo.models.transformer import Transformer
from zoo.models.vit import ViT
from zoo.models.wide_resnet import WideResNet

__all__ = [
  'BERT',
  'CNN',
  'GPT2',
  'GRU',
  'LSTM',
  'MLP',
  'RNNClassifier',
  'ResNet',
  'Transformer',
  'ViT',
  'WideResNet',
  'bert',
  'gpt2',
  'resnet',
  'transformer',
  'vit',
]
