"""The policy: a Llama in plain PyTorch, with the mathematics and the tensor names of Hugging Face's LlamaForCausalLM."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call


class Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on x [batch, heads, time, head_dim]: dimension i turns with dimension i + head_dim / 2."""
    low, high = x.chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


class Attention(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.head_dim = config["head_dim"]
        hidden = config["hidden_size"]
        self.q_proj = Linear(hidden, config["num_attention_heads"] * self.head_dim)
        self.k_proj = Linear(hidden, config["num_key_value_heads"] * self.head_dim)
        self.v_proj = Linear(hidden, config["num_key_value_heads"] * self.head_dim)
        self.o_proj = Linear(config["num_attention_heads"] * self.head_dim, hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.gate_proj = Linear(config["hidden_size"], config["intermediate_size"])
        self.up_proj = Linear(config["hidden_size"], config["intermediate_size"])
        self.down_proj = Linear(config["intermediate_size"], config["hidden_size"])

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.input_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The layers, under the names that a checkpoint has them by."""

    def __init__(self, config: dict):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = Norm(config["hidden_size"], config["rms_norm_eps"])


class Policy(nn.Module):
    """A policy with the weights of a model folder. The output matrix is the embedding.

    The weights are float32, so that steps of any size add up. Log probabilities are computed with what the server is given: the
    weights rounded to `served`. What is learned from is then what is served, and gradients pass through the rounding.
    """

    def __init__(self, folder: Path, served: torch.dtype):
        super().__init__()
        config = json.loads((folder / "config.json").read_text())
        if not config["tie_word_embeddings"] or config["rope_scaling"] is not None:
            raise ValueError(f"{folder}: this policy has tied embeddings and unscaled RoPE")
        self.served = served
        self.model = Llama(config)
        self.load_state_dict(load_file(folder / "model.safetensors"))
        half = torch.arange(0, config["head_dim"], 2) / config["head_dim"]
        self.frequencies = config["rope_theta"] ** -half

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, time, vocabulary] after each of the ids [batch, time]."""
        angles = torch.outer(torch.arange(ids.shape[1]), self.frequencies)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, angles.cos(), angles.sin())
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def served_weights(self) -> dict[str, Tensor]:
        """The weights under their names in a checkpoint, as the server gets them."""
        return {name: weight.to(self.served) for name, weight in self.named_parameters()}

    def logprobs(self, ids: Tensor) -> Tensor:
        """The log probability of each id after the first, given those before it: [batch, time - 1]."""
        weights = {name: weight.float() for name, weight in self.served_weights().items()}
        logits = functional_call(self, weights, (ids[:, :-1],))
        return -F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(ids.shape[0], -1)
