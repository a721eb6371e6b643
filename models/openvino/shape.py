"""What of a Hugging Face configuration decides the OpenVINO graph. Needs no library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from models.artifact import ArtifactError

KINDS = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet")
ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


@dataclass(frozen=True, slots=True)
class BertShape:
    """A BERT, or one of its kin.

    Attributes:
        layers: of the encoder.
        hidden: width of a token's state.
        heads: of the attention.
        epsilon: of the norms.
        activation: `erf` or `tanh`, the form of the GELU.
        positions: the longest input.
        first_position: row of the position table that belongs to the first token.
        typed: tokens have types, of which the first is meant.
        distance_buckets: of the distances that attention is biased by; 0: it is not.
    """

    layers: int
    hidden: int
    heads: int
    epsilon: float
    activation: str
    positions: int
    first_position: int
    typed: bool
    distance_buckets: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BertShape:
        """Read a configuration.

        Raises:
            ArtifactError: another architecture, a variant that the graph is not, or bad values.
        """
        kind = config.get("model_type")
        if kind not in KINDS:
            raise ArtifactError(f"the OpenVINO backend knows {', '.join(KINDS)}, not {kind!r}")
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ArtifactError("the OpenVINO backend knows absolute positions only")
        activation = ACTIVATIONS.get(str(config.get("hidden_act", "gelu")))
        if activation is None:
            raise ArtifactError(f"unknown activation {config.get('hidden_act')!r}")
        first = 0
        if kind != "bert":  # RoBERTa and its kin count positions from the padding index on
            pad = config.get("pad_token_id")
            first = (1 if pad is None else int(pad)) + 1
        try:
            shape = cls(
                layers=int(config["num_hidden_layers"]),
                hidden=int(config["hidden_size"]),
                heads=int(config["num_attention_heads"]),
                epsilon=float(config.get("layer_norm_eps", 1e-12)),
                activation=activation,
                positions=int(config["max_position_embeddings"]) - first,
                first_position=first,
                typed=kind != "mpnet",
                distance_buckets=int(config["relative_attention_num_buckets"])
                if kind == "mpnet"
                else 0,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"bad configuration of the backbone: {error!r}") from error
        if min(shape.layers, shape.hidden, shape.heads, shape.positions) < 1:
            raise ArtifactError("bad configuration of the backbone: a size is under 1")
        if kind == "mpnet" and shape.distance_buckets < 4:
            raise ArtifactError("bad configuration of the backbone: under 4 buckets of distances")
        if shape.hidden % shape.heads:
            raise ArtifactError(f"{shape.heads} heads do not divide {shape.hidden} dimensions")
        return shape


def name_prefix(names: Iterable[str]) -> str:
    """What stands before `BertModel`'s own names in a backbone's tensors, such as `bert.`.

    Raises:
        ArtifactError: there is no word table among them, or several.
    """
    marker = "embeddings.word_embeddings.weight"
    found = [name for name in names if name.endswith(marker)]
    if len(found) != 1:
        raise ArtifactError(f"the backbone has {len(found)} tensors named …{marker}")
    return found[0].removesuffix(marker)
