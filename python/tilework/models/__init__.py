"""Whole networks, one file a family."""

from tilework.models.bert import BertConfig, BertModel
from tilework.models.cache import KeyValueCache
from tilework.models.embedding import ConvEmbedding
from tilework.models.espcn import ESPCN
from tilework.models.fcn import FCN, fcn_resnet50, fcn_resnet101
from tilework.models.forecaster import LSTMForecaster
from tilework.models.generation import generate, stream
from tilework.models.gpt2 import GPT2Config, GPT2LMHeadModel, GPT2Model
from tilework.models.lenet import LeNet5
from tilework.models.llama import LlamaConfig, LlamaForCausalLM, LlamaModel
from tilework.models.lstm_lm import LSTMLanguageModel
from tilework.models.mlp import MLP
from tilework.models.paged import PagedKeyValueCache
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
from tilework.models.vit import ViTConfig, ViTForImageClassification

__all__ = [
    "ESPCN",
    "FCN",
    "MLP",
    "BahdanauAttention",
    "BertConfig",
    "BertModel",
    "CifarResNet",
    "ConvEmbedding",
    "GPT2Config",
    "GPT2LMHeadModel",
    "GPT2Model",
    "KeyValueCache",
    "LSTMForecaster",
    "LSTMLanguageModel",
    "LeNet5",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaModel",
    "LuongAttention",
    "PagedKeyValueCache",
    "ResNet",
    "Seq2Seq",
    "Seq2SeqConfig",
    "SileroVAD",
    "SpeakerLSTM",
    "T5Config",
    "T5ForConditionalGeneration",
    "UNet",
    "ViTConfig",
    "ViTForImageClassification",
    "fcn_resnet50",
    "fcn_resnet101",
    "from_pretrained",
    "generate",
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
]
