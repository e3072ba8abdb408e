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


def padded_embedding():
    """PyTorch keeps the row of the padding at 0, so that the layer's value there is 0."""
    module = nn.Embedding(4, 3, padding_idx=1)
    function = module.forward
    module.forward = lambda x: function(x) * (x != 1).unsqueeze(-1)
    return module


# Dense layers and embeddings.
layer("linear", nn.Linear(7, 5), x=normal(3, 7))
layer("linear_over_sequences", nn.Linear(7, 5, bias=False), x=normal(2, 3, 7))
layer("embedding", nn.Embedding(11, 5), x=integers(11, 3, 4))
layer("embedding_padded", padded_embedding(), x=integers(4, 3, 5))

# Convolutions with odd shapes.
layer("conv1d", nn.Conv1d(3, 4, 5, stride=2, padding=2, dilation=1), x=normal(2, 3, 13))
layer("conv1d_dilated", nn.Conv1d(4, 6, 3, padding=2, dilation=3, groups=2), x=normal(2, 4, 17))
layer("conv2d", nn.Conv2d(3, 5, 3, padding=1), x=normal(2, 3, 7, 5))
layer("conv2d_strided", nn.Conv2d(2, 4, (3, 2), stride=(2, 3), padding=(1, 0)), x=normal(3, 2, 9, 11))
layer("conv2d_dilated", nn.Conv2d(2, 3, 3, padding=2, dilation=2, bias=False), x=normal(2, 2, 8, 6))
layer("conv2d_depthwise", nn.Conv2d(4, 8, 3, padding=1, groups=4), x=normal(2, 4, 5, 7))
layer("conv2d_pointwise", nn.Conv2d(6, 3, 1), x=normal(2, 6, 4, 3))
layer("conv2d_grouped", nn.Conv2d(6, 9, (1, 4), padding=(0, 3), groups=3), x=normal(2, 6, 5, 7))
layer(
    "conv2d_same",
    nn.Conv2d(3, 2, (4, 3), padding="same", dilation=(1, 2)),
    x=normal(1, 3, 7, 6),
)
layer(
    "conv2d_seven",
    nn.Conv2d(3, 17, 7, stride=2, padding=3, bias=False),
    x=normal(1, 3, 13, 11),
)
layer("conv1d_same", nn.Conv1d(5, 3, 4, padding="same"), x=normal(3, 5, 8))
layer("conv_transpose1d", nn.ConvTranspose1d(3, 2, 4, stride=3, padding=1), x=normal(2, 3, 5))
layer(
    "conv_transpose2d",
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    x=normal(2, 4, 4, 3),
)
layer(
    "conv_transpose2d_dilated",
    nn.ConvTranspose2d(3, 2, (3, 2), stride=(1, 3), padding=(2, 0), dilation=2),
    x=normal(2, 3, 3, 4),
)
layer(
    "conv_transpose1d_padded",
    nn.ConvTranspose1d(4, 3, 5, stride=4, padding=2, output_padding=3, bias=False),
    x=normal(2, 4, 3),
)

# Pooling and changes of resolution.
layer("max_pool2d", nn.MaxPool2d(3, stride=2, padding=1), x=normal(2, 3, 8, 7))
layer("max_pool1d", nn.MaxPool1d(2), x=normal(2, 3, 9))
layer("avg_pool2d", nn.AvgPool2d(3, stride=2, padding=1), x=normal(2, 3, 7, 7))
layer(
    "avg_pool2d_inside",
    nn.AvgPool2d((3, 2), stride=2, padding=1, count_include_pad=False),
    x=normal(2, 3, 7, 6),
)
layer("avg_pool1d", nn.AvgPool1d(4, stride=3, padding=2), x=normal(2, 3, 9))
layer(
    "max_pool2d_dilated",
    nn.MaxPool2d((2, 3), stride=(3, 1), dilation=(1, 2)),
    x=normal(2, 3, 9, 8),
)
case("global_avg_pool", lambda x: x.mean((2, 3)), x=normal(2, 3, 5, 7))
case("global_max_pool", lambda x: x.amax((2, 3)), x=normal(2, 3, 5, 7))
layer("adaptive_avg_pool2d_larger", nn.AdaptiveAvgPool2d((4, 1)), x=normal(1, 2, 3, 5))
layer("adaptive_avg_pool2d", nn.AdaptiveAvgPool2d((2, 3)), x=normal(2, 3, 7, 8))
layer("upsample_nearest", nn.Upsample(scale_factor=2), x=normal(2, 2, 3, 4))
layer("upsample_bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), x=normal(2, 2, 3, 4))
layer("upsample_nearest_uneven", nn.Upsample(scale_factor=(3, 2)), x=normal(1, 2, 3, 4))
layer(
    "upsample_bilinear_uneven",
    nn.Upsample(scale_factor=(3, 4), mode="bilinear"),
    x=normal(1, 2, 3, 4),
)

# Normalization.
layer("batch_norm", nn.BatchNorm2d(3), x=normal(4, 3, 5, 2))
layer("batch_norm_1d", nn.BatchNorm1d(6), x=normal(9, 6))
layer("layer_norm", nn.LayerNorm(7), x=normal(2, 3, 7))
layer("group_norm", nn.GroupNorm(3, 6), x=normal(2, 6, 3, 5))
layer("rms_norm", nn.RMSNorm(9, eps=1e-5), x=normal(4, 9))
layer("batch_norm_3d", nn.BatchNorm1d(4), x=normal(3, 4, 7))
layer("layer_norm_far", nn.LayerNorm(17), x=(normal(2, 17) + 50).float().double())
layer("group_norm_one", nn.GroupNorm(1, 5), x=normal(2, 5, 7))
layer("instance_norm", nn.InstanceNorm2d(3, affine=True), x=normal(2, 3, 4, 5))

# Reductions and triangles.
case("logsumexp", lambda x: x.logsumexp((0, 2)), x=normal(3, 4, 5, scale=3.0))
case("variance", lambda x: x.var((1, 2)), x=normal(3, 4, 5))
case("norm", lambda x: x.norm(dim=1), x=normal(3, 4, 5))
case("tril", lambda x: x.tril(1), x=normal(2, 4, 5))
case("triu", lambda x: x.triu(-1), x=normal(2, 5, 4))

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
cell = nn.RNNCell(4, 5)
case("rnn_cell", lambda x, h: cell(x, h), cell, x=normal(3, 4), h=normal(3, 5))
lstm_cell = nn.LSTMCell(4, 5)
case(
    "lstm_cell",
    lambda x, h, c: torch.mul(*lstm_cell(x, (h, c))),
    lstm_cell,
    x=normal(3, 4),
    h=normal(3, 5),
    c=normal(3, 5),
)
gru_cell = nn.GRUCell(4, 5)
case("gru_cell", lambda x, h: gru_cell(x, h), gru_cell, x=normal(3, 4), h=normal(3, 5))

# The last state, from a first one that is given.
rnn = nn.RNN(4, 3, batch_first=True)
case("rnn_state", lambda x, h: rnn(x, h[None])[1][0], rnn, x=normal(2, 6, 4), h=normal(2, 3))
lstm = nn.LSTM(4, 3, batch_first=True)


def last_state_and_cell(x, h, c):
    _, (last, cell) = lstm(x, (h[None], c[None]))
    return last[0] + cell[0]


case("lstm_state", last_state_and_cell, lstm, x=normal(2, 6, 4), h=normal(2, 3), c=normal(2, 3))
gru = nn.GRU(4, 3, batch_first=True)
case("gru_state", lambda x, h: gru(x, h[None])[1][0], gru, x=normal(2, 6, 4), h=normal(2, 3))

# Sequences of 5, 2 and 4 steps, filled up: the last states of both directions.
lengths = torch.tensor([5, 2, 4])


def last_states(module, pick):
    def function(x):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        there, back = pick(module(packed)[1])
        return torch.cat([there, back], -1)

    return function


padded_lstm = nn.LSTM(4, 2, bidirectional=True, batch_first=True)
case("lstm_padded", last_states(padded_lstm, lambda states: states[0]), padded_lstm, x=normal(3, 5, 4))
padded_gru = nn.GRU(4, 2, bidirectional=True, batch_first=True)
case("gru_padded", last_states(padded_gru, lambda states: states), padded_gru, x=normal(3, 5, 4))

# Attention.
attention = nn.MultiheadAttention(8, 2, batch_first=True)
case("self_attention", lambda x: attention(x, x, x, need_weights=False)[0], attention, x=normal(2, 5, 8))
causal_attention = nn.MultiheadAttention(6, 3, batch_first=True)
later = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
case(
    "causal_attention",
    lambda x: causal_attention(x, x, x, attn_mask=later, need_weights=False)[0],
    causal_attention,
    x=normal(2, 5, 6),
)
masked_attention = nn.MultiheadAttention(4, 2, batch_first=True)
behind = torch.arange(5)[None] >= lengths[:, None]
case(
    "masked_attention",
    lambda x: masked_attention(x, x, x, key_padding_mask=behind, need_weights=False)[0],
    masked_attention,
    x=normal(3, 5, 4),
)


def attend(query, key, value):
    apart = (part.transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(*apart).transpose(1, 2)


case("attend", attend, query=normal(2, 3, 2, 5), key=normal(2, 7, 2, 5), value=normal(2, 7, 2, 5))


def angles(places, size):
    """The angle of each pair of features at each place."""
    speed = 10000.0 ** (-2 * torch.arange(size // 2, dtype=torch.float64) / size)
    return torch.outer(torch.arange(places, dtype=torch.float64), speed)


def sinusoidal(x):
    angle = angles(7, 6)
    return x * torch.stack([angle.sin(), angle.cos()], -1).reshape(7, 6)


def rotary(x):
    """Pairs as complex numbers, turned."""
    turned = torch.complex(x[..., :3], x[..., 3:]) * torch.polar(torch.ones(7, 3).double(), angles(7, 6))[:, None]
    return torch.cat([turned.real, turned.imag], -1)


case("sinusoidal", sinusoidal, x=normal(2, 7, 6))
case("rotary", rotary, x=normal(2, 7, 3, 6))
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
layer(
    "transformer_encoder_layer_pre_norm",
    nn.TransformerEncoderLayer(
        6, 3, 7, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ),
    x=normal(2, 4, 6),
)
post_norm = nn.TransformerDecoderLayer(6, 3, 5, dropout=0.0, batch_first=True)
three = nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)
case(
    "transformer_decoder_layer_post_norm",
    lambda x, memory: post_norm(x, memory, tgt_mask=three),
    post_norm,
    x=normal(2, 3, 6),
    memory=normal(2, 5, 6),
)
layer(
    "transformer_encoder",
    nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True, norm_first=True),
        2,
        nn.LayerNorm(4),
        enable_nested_tensor=False,
    ),
    x=normal(2, 3, 4),
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
    "leaky_relu_steep": lambda x: F.leaky_relu(x, 0.2),
    "elu_alpha": lambda x: F.elu(x, 1.7),
    "softmax_over_first": lambda x: F.softmax(x, 0),
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
case(
    "nll",
    lambda x, label: F.nll_loss(F.log_softmax(x, 1), label.long()),
    x=normal(2, 4, 3),
    label=integers(4, 2, 3),
)
case(
    "cross_entropy_over",
    lambda x, label: F.cross_entropy(x, label.long(), label_smoothing=0.2, ignore_index=3),
    x=normal(2, 5, 3),
    label=integers(5, 2, 3),
)
case(
    "bce_logits_sum",
    lambda x, y: F.binary_cross_entropy_with_logits(x, torch.sigmoid(y), reduction="sum"),
    x=normal(5, 3, scale=3.0),
    y=normal(5, 3),
)
case(
    "hinge",
    lambda x, y: F.relu(1 - x * y.detach().sign()).mean(),
    x=normal(5, 4),
    y=normal(5, 4),
)
case(
    "penalties",
    lambda x, y: x.abs().sum() + y.abs().sum() + 0.5 * (x.square().sum() + y.square().sum()),
    x=normal(5, 4),
    y=normal(3),
)

# Recurrence of several layers and both directions, from given states, over padded sequences. States
# of all layers and directions stand side by side in each sample's row.
def rows(states):
    """[k, n, hidden] to [n, k * hidden]."""
    return states.transpose(0, 1).flatten(1)


def from_rows(states, k):
    return states.unflatten(1, (k, -1)).transpose(0, 1).contiguous()


def padded_states(module, x, lengths, *states):
    """Outputs, with zeros in the padding, and last states of sequences of these lengths."""
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths.long(), batch_first=True, enforce_sorted=False)
    output, last = module(packed, *states)
    output, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
    return output, last


deep = nn.RNN(3, 2, num_layers=3, batch_first=True)
layer("rnn_deep", deep, pick=0, x=normal(2, 5, 3))
deep_gru = nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)


def gru_deep(x, h):
    output, last = deep_gru(x, from_rows(h, 4))
    return torch.cat([output.flatten(1), rows(last)], 1)


case("gru_deep", gru_deep, deep_gru, x=normal(2, 5, 3), h=normal(2, 16))
deep_lstm = nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)


def lstm_states(x, h, c):
    _, (last, cell) = deep_lstm(x, (from_rows(h, 4), from_rows(c, 4)))
    return torch.cat([rows(last), rows(cell)], 1)


case("lstm_states", lstm_states, deep_lstm, x=normal(3, 4, 3), h=normal(3, 8), c=normal(3, 8))
padded_lstm = nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)


def lstm_padded(x, lengths):
    output, (last, _) = padded_states(padded_lstm, x, lengths)
    return torch.cat([output.flatten(1), rows(last)], 1)


case("lstm_deep_padded", lstm_padded, padded_lstm, x=normal(3, 5, 3), lengths=torch.tensor([3, 5, 1], dtype=torch.int32))
padded_rnn = nn.RNN(3, 2, num_layers=2, bidirectional=True, batch_first=True, nonlinearity="relu")


def rnn_padded(x, lengths):
    output, last = padded_states(padded_rnn, x, lengths)
    return torch.cat([output.flatten(1), rows(last)], 1)


case("rnn_deep_padded", rnn_padded, padded_rnn, x=normal(2, 4, 3), lengths=torch.tensor([4, 2], dtype=torch.int32))

# Connectionist temporal classification: labels that repeat, an empty target, a target that fits
# exactly; then one that does not fit.
for name, sizes, options in [
    ("ctc", ([9, 3, 4, 6], [4, 2, 0, 3]), {}),
    ("ctc_impossible", ([9, 2, 4, 3], [4, 2, 0, 3]), {"zero_infinity": True}),
]:
    lengths, target_lengths = (torch.tensor(size, dtype=torch.int32) for size in sizes)
    case(
        name,
        lambda x, target, lengths, target_lengths, options=options: F.ctc_loss(
            F.log_softmax(x, -1).transpose(0, 1), target, lengths, target_lengths, **options
        ),
        x=normal(4, 9, 5, scale=2.0),
        target=torch.tensor([[1, 2, 2, 4], [3, 3, 0, 0], [0, 0, 0, 0], [1, 1, 2, 0]], dtype=torch.int32),
        lengths=lengths,
        target_lengths=target_lengths,
    )

save_file(tensors, Path(__file__).parent / "layers.safetensors")
