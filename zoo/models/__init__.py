"""Flax Linen modules: pure init and apply, no I/O, no config objects."""

from zoo.models import bert, gpt2, qnetwork, resnet, transformer, vit
from zoo.models.autoencoder import MLPAutoencoder
from zoo.models.bert import BERT
from zoo.models.cnn import CNN
from zoo.models.gan import DCGAN
from zoo.models.gpt2 import GPT2
from zoo.models.inception import InceptionV3
from zoo.models.lstm import GRU, LSTM
from zoo.models.mlp import MLP
from zoo.models.qnetwork import QNetwork
from zoo.models.resnet import ResNet
from zoo.models.rnn_classifier import RNNClassifier
from zoo.models.transformer import Transformer
from zoo.models.unet import UNet
from zoo.models.vae import VAE
from zoo.models.vit import ViT
from zoo.models.wide_resnet import WideResNet

__all__ = [
  'BERT',
  'CNN',
  'DCGAN',
  'GPT2',
  'GRU',
  'LSTM',
  'MLP',
  'VAE',
  'InceptionV3',
  'MLPAutoencoder',
  'QNetwork',
  'RNNClassifier',
  'ResNet',
  'Transformer',
  'UNet',
  'ViT',
  'WideResNet',
  'bert',
  'gpt2',
  'qnetwork',
  'resnet',
  'transformer',
  'vit',
]
