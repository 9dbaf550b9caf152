"""Whole networks, one file a family."""

from tilework.models.alexnet import AlexNet, alexnet
from tilework.models.autoencoder import (
    AnomalyDetector,
    Autoencoder,
    ConvAutoencoder,
    SparseAutoencoder,
)
from tilework.models.bert import BertConfig, BertModel
from tilework.models.cache import KeyValueCache
from tilework.models.efficientnet import (
    EfficientNet,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
    efficientnet_lite0,
)
from tilework.models.embedding import ConvEmbedding
from tilework.models.espcn import ESPCN
from tilework.models.fcn import FCN, fcn_resnet50, fcn_resnet101
from tilework.models.forecaster import LSTMForecaster, MLPForecaster
from tilework.models.generation import generate, stream
from tilework.models.googlenet import GoogLeNet, googlenet
from tilework.models.gpt2 import GPT2Config, GPT2LMHeadModel, GPT2Model
from tilework.models.lenet import LeNet5
from tilework.models.llama import LlamaConfig, LlamaForCausalLM, LlamaModel
from tilework.models.lstm_lm import LSTMLanguageModel
from tilework.models.mlp import MLP
from tilework.models.mobilenet import MobileNetV2, mobilenet_v2
from tilework.models.paged import PagedKeyValueCache
from tilework.models.perceptron import Perceptron
from tilework.models.pretrained import from_pretrained
from tilework.models.resnet import (
    CifarResNet,
    ResNet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from tilework.models.seq2seq import BahdanauAttention, LuongAttention, Seq2Seq, Seq2SeqConfig
from tilework.models.silero import SileroVAD
from tilework.models.speaker import SpeakerLSTM
from tilework.models.t5 import T5Config, T5ForConditionalGeneration
from tilework.models.unet import UNet
from tilework.models.vae import VAE
from tilework.models.vgg import (
    VGG,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)
from tilework.models.vit import ViTConfig, ViTForImageClassification

__all__ = [
    "ESPCN",
    "FCN",
    "MLP",
    "VAE",
    "VGG",
    "AlexNet",
    "AnomalyDetector",
    "Autoencoder",
    "BahdanauAttention",
    "BertConfig",
    "BertModel",
    "CifarResNet",
    "ConvAutoencoder",
    "ConvEmbedding",
    "EfficientNet",
    "GPT2Config",
    "GPT2LMHeadModel",
    "GPT2Model",
    "GoogLeNet",
    "KeyValueCache",
    "LSTMForecaster",
    "LSTMLanguageModel",
    "LeNet5",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaModel",
    "LuongAttention",
    "MLPForecaster",
    "MobileNetV2",
    "PagedKeyValueCache",
    "Perceptron",
    "ResNet",
    "Seq2Seq",
    "Seq2SeqConfig",
    "SileroVAD",
    "SparseAutoencoder",
    "SpeakerLSTM",
    "T5Config",
    "T5ForConditionalGeneration",
    "UNet",
    "ViTConfig",
    "ViTForImageClassification",
    "alexnet",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_lite0",
    "fcn_resnet50",
    "fcn_resnet101",
    "from_pretrained",
    "generate",
    "googlenet",
    "mobilenet_v2",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "stream",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
