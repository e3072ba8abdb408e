"""Writes layers.safetensors: values and gradients of layers as PyTorch computes them.

    python layers.py       # needs torch and safetensors; writes beside itself

Each case is a model in layers.cyg with the same name. Everything is computed in float64 from
inputs and parameters that are float32 numbers, then rounded, so the file holds what an exact
float32 implementation would give. Tensors are named

    CASE/input/NAME      an input of the model
    CASE/param/PATH      a parameter
    CASE/cotangent       what the output is multiplied with and summed to give a scalar
    CASE/output          the model's output
    CASE/grad/input/NAME, CASE/grad/param/PATH
                         gradients of that scalar
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

generator = torch.Generator().manual_seed(20261122)
tensors = {}


def normal(*shape, scale=1.0):
    """Numbers that are exact in float32, as float64."""
    return (scale * torch.randn(shape, generator=generator)).double()


def integers(high, *shape):
    return torch.randint(high, shape, generator=generator, dtype=torch.int32)


def case(name, function, module=None, **inputs):
    """Records `function(**inputs)` and its gradients; `module` has its parameters."""
    parameters = {}
    if module is not None:
        module.double()
        for path, parameter in module.named_parameters():
            value = normal(*parameter.shape, scale=0.5)
            parameter.data = value
            parameters["unit." + path] = parameter
    for value in inputs.values():
        if value.is_floating_point():
            value.requires_grad_(True)
    output = function(**inputs)
    cotangent = normal(*output.shape)
    (output * cotangent).sum().backward()
    save = {"cotangent": cotangent, "output": output}
    for group, members in [("input", inputs), ("param", parameters)]:
        for path, value in members.items():
            save[f"{group}/{path}"] = value
            if value.grad is not None:
                save[f"grad/{group}/{path}"] = value.grad
    for key, value in save.items():
        value = value.detach()
        value = value.to(torch.float32) if value.is_floating_point() else value
        tensors[f"{name}/{key}"] = value.contiguous().clone()


def layer(name, module, pick=None, **inputs):
    """A case of one module with one input; of several results, number `pick`."""
    result = (lambda x: module(x)) if pick is None else (lambda x: module(x)[pick])
    case(name, result, module, **inputs)


# Dense layers and embeddings.
layer("linear", nn.Linear(7, 5), x=normal(3, 7))
layer("linear_over_sequences", nn.Linear(7, 5, bias=False), x=normal(2, 3, 7))
layer("embedding", nn.Embedding(11, 5), x=integers(11, 3, 4))

# Convolutions with odd shapes.
layer("conv1d", nn.Conv1d(3, 4, 5, stride=2, padding=2, dilation=1), x=normal(2, 3, 13))
layer("conv1d_dilated", nn.Conv1d(4, 6, 3, padding=2, dilation=3, groups=2), x=normal(2, 4, 17))
layer("conv2d", nn.Conv2d(3, 5, 3, padding=1), x=normal(2, 3, 7, 5))
layer("conv2d_strided", nn.Conv2d(2, 4, (3, 2), stride=(2, 3), padding=(1, 0)), x=normal(3, 2, 9, 11))
layer("conv2d_dilated", nn.Conv2d(2, 3, 3, padding=2, dilation=2, bias=False), x=normal(2, 2, 8, 6))
layer("conv2d_depthwise", nn.Conv2d(4, 8, 3, padding=1, groups=4), x=normal(2, 4, 5, 7))
layer("conv2d_pointwise", nn.Conv2d(6, 3, 1), x=normal(2, 6, 4, 3))
layer("conv_transpose1d", nn.ConvTranspose1d(3, 2, 4, stride=3, padding=1), x=normal(2, 3, 5))
layer(
    "conv_transpose2d",
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    x=normal(2, 4, 4, 3),
)

# Pooling and changes of resolution.
layer("max_pool2d", nn.MaxPool2d(3, stride=2, padding=1), x=normal(2, 3, 8, 7))
layer("max_pool1d", nn.MaxPool1d(2), x=normal(2, 3, 9))
layer("avg_pool2d", nn.AvgPool2d(3, stride=2, padding=1), x=normal(2, 3, 7, 7))
layer("adaptive_avg_pool2d", nn.AdaptiveAvgPool2d((2, 3)), x=normal(2, 3, 7, 8))
layer("upsample_nearest", nn.Upsample(scale_factor=2), x=normal(2, 2, 3, 4))
layer("upsample_bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), x=normal(2, 2, 3, 4))

# Normalization.
layer("batch_norm", nn.BatchNorm2d(3), x=normal(4, 3, 5, 2))
layer("batch_norm_1d", nn.BatchNorm1d(6), x=normal(9, 6))
layer("layer_norm", nn.LayerNorm(7), x=normal(2, 3, 7))
layer("group_norm", nn.GroupNorm(3, 6), x=normal(2, 6, 3, 5))
layer("rms_norm", nn.RMSNorm(9, eps=1e-5), x=normal(4, 9))

# Recurrence: outputs of all steps.
layer("rnn_tanh", nn.RNN(4, 3, batch_first=True), pick=0, x=normal(2, 6, 4))
layer("rnn_relu", nn.RNN(4, 3, nonlinearity="relu", batch_first=True), pick=0, x=normal(2, 6, 4))
layer("lstm", nn.LSTM(4, 3, batch_first=True), pick=0, x=normal(2, 7, 4))
layer(
    "lstm_bidirectional",
    nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True),
    pick=0,
    x=normal(2, 5, 3),
)
layer("gru", nn.GRU(4, 3, batch_first=True), pick=0, x=normal(2, 7, 4))

# Attention.
attention = nn.MultiheadAttention(8, 2, batch_first=True)
case("self_attention", lambda x: attention(x, x, x, need_weights=False)[0], attention, x=normal(2, 5, 8))
cross = nn.MultiheadAttention(6, 3, batch_first=True)
case(
    "cross_attention",
    lambda x, memory: cross(x, memory, memory, need_weights=False)[0],
    cross,
    x=normal(2, 3, 6),
    memory=normal(2, 5, 6),
)
layer(
    "transformer_encoder_layer",
    nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True),
    x=normal(2, 4, 8),
)
decoder = nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=True)
causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
case(
    "transformer_decoder_layer",
    lambda x, memory: decoder(x, memory, tgt_mask=causal),
    decoder,
    x=normal(2, 4, 8),
    memory=normal(2, 3, 8),
)

# Activations.
for name, function in {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
}.items():
    case(name, lambda x, function=function: function(x), x=normal(3, 4, 5, scale=3.0))

# Losses.
case(
    "cross_entropy",
    lambda x, label: F.cross_entropy(x, label.long()),
    x=normal(6, 5),
    label=integers(5, 6),
)
case(
    "cross_entropy_smoothed",
    lambda x, label: F.cross_entropy(x.transpose(1, 2), label.long(), label_smoothing=0.1),
    x=normal(2, 3, 4),
    label=integers(4, 2, 3),
)
case(
    "cross_entropy_ignoring",
    lambda x, label: F.cross_entropy(x, label.long(), ignore_index=2),
    x=normal(7, 4),
    label=integers(4, 7),
)
weights = normal(4).abs()
case(
    "cross_entropy_weighted",
    lambda x, weight, label: F.cross_entropy(x, label.long(), weight=weight.detach()),
    x=normal(7, 4),
    weight=weights,
    label=integers(4, 7),
)
case("mse", lambda x, y: F.mse_loss(x, y), x=normal(3, 4), y=normal(3, 4))
case("l1", lambda x, y: F.l1_loss(x, y), x=normal(3, 4), y=normal(3, 4))
case("huber", lambda x, y: F.huber_loss(x, y, delta=0.7), x=normal(5, 4), y=normal(5, 4))
case(
    "bce_logits",
    lambda x, y: F.binary_cross_entropy_with_logits(x, torch.sigmoid(y)),
    x=normal(5, 4, scale=3.0),
    y=normal(5, 4),
)
case(
    "kl_divergence",
    lambda x, y: F.kl_div(F.log_softmax(x, -1), F.softmax(y, -1), reduction="batchmean"),
    x=normal(5, 4),
    y=normal(5, 4),
)

save_file(tensors, Path(__file__).parent / "layers.safetensors")
