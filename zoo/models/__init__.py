"""Flax Linen modules: pure init and apply, no I/O, no config objects."""

from zoo.models import bert, gpt2, transformer
from zoo.models.autoencoder import MLPAutoencoder
from zoo.models.bert import BERT
from zoo.models.cnn import CNN
from zoo.models.gan import DCGAN
from zoo.models.gpt2 import GPT2
from zoo.models.lstm import GRU, LSTM
from zoo.models.mlp import MLP
from zoo.models.rnn_classifier import RNNClassifier
from zoo.models.transformer import Transformer
from zoo.models.unet import UNet
from zoo.models.vae import VAE

__all__ = [
  'BERT',
  'CNN',
  'DCGAN',
  'GPT2',
  'GRU',
  'LSTM',
  'MLP',
  'VAE',
  'MLPAutoencoder',
  'RNNClassifier',
  'Transformer',
  'UNet',
  'bert',
  'gpt2',
  'transformer',
]
