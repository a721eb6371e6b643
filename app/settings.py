"""The one Settings class. Every value comes from `POLYHEAD_*` (and `REDIS_URL`)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.cache.address import parse_address
from app.cache.layouts import Layout
from app.encoding.addresses import parse_places
from app.tasks.storage.url import parse_registry_url

DEFAULT_ENCODER = str(Path(__file__).parent.parent / "models" / "artifacts" / "minilm-l6-multitask")
DEFAULT_HEADS = Path(__file__).parent.parent / "models" / "artifacts" / "heads"


class Settings(BaseSettings):
    """How one process runs. `role` says which parts it holds."""

    model_config = SettingsConfigDict(
        env_prefix="POLYHEAD_", populate_by_name=True, hide_input_in_errors=True
    )

    # Process
    role: Literal["all", "api", "encoder"] = "all"
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    data_dir: Path = Path("data")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    drain_s: float = Field(
        0.0, ge=0, le=600, description="after SIGTERM: unready, and still serving, for so long"
    )

    # Where traces go; empty: nowhere. OpenTelemetry reads its other variables itself.
    otel_endpoint: str = Field(
        "", validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "otel_endpoint")
    )

    # Keys: comma-separated `scope:key`, scope being predict or manage (which includes predict).
    api_keys: SecretStr = SecretStr("")
    # Serve without keys beyond loopback. On purpose only: behind something that checks them.
    allow_anonymous: bool = False

    # Cache
    redis_url: SecretStr | None = Field(
        None, validation_alias=AliasChoices("REDIS_URL", "POLYHEAD_REDIS_URL", "redis_url")
    )
    cache_timeout_ms: int = Field(250, ge=1, le=10_000)
    cache_ttl_s: int = Field(0, ge=0, description="0: codes do not expire")
    cache_layout: Layout = "string"
    cache_front_mb: float = Field(64, ge=0, le=65_536)
    # Of /v1/similar, in the memory of each process that is asked: their width and 16 bytes each,
    # twice that while they are read anew.
    similar_max_codes: int = Field(1_000_000, ge=1, le=100_000_000)
    valkey_max_mb: int = Field(1024, ge=16, description="memory limit of the embedded Valkey")

    # Encoder
    encoder: str = DEFAULT_ENCODER
    backend: Literal["auto", "torch", "openvino"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "int8", "bf16", "fp32"] = "auto"
    max_tokens: int = Field(0, ge=0, le=65_535, description="0: the encoder's own limit")
    long_texts: Literal["", "cut", "windows"] = Field("", description="empty: the encoder's own")
    threads: int = Field(0, ge=0, description="0: as many as there are cores for this process")
    max_batch_tokens: int = Field(0, ge=0, description="0: what the encoder does best with")
    max_queued_texts: int = Field(4096, ge=1)
    max_queue_ms: int = Field(250, ge=1, description="how long a text may wait for others'")
    # Where encoder processes are, for role=api: `http://host:port`, several of them with commas.
    # A name stands for all the addresses that it has.
    encoder_url: str = ""
    encoder_key: SecretStr = SecretStr("")
    encoder_timeout_s: float = Field(30.0, gt=0, le=600)

    # Requests
    # Texts a client (a key; an address where there are no keys) may ask for: `1000/minute`.
    rate_limit: str = ""
    # No request is worked on for longer, whatever its x-request-timeout-ms says.
    max_request_s: float = Field(120.0, gt=0, le=3600)
    body_timeout_s: float = Field(20.0, gt=0, le=600, description="more for large bodies")
    head_timeout_s: float = Field(20.0, gt=0, le=600, description="for a request's headers")
    max_lag_ms: int = Field(
        100, ge=0, description="of the event loop, beyond which requests are refused unread; 0: any"
    )
    max_inputs: int = Field(1024, ge=1)
    max_tasks: int = Field(1000, ge=1)
    max_body_mb: float = Field(8, gt=0)
    max_upload_mb: float = Field(64, gt=0)
    max_text_kb: int = Field(512, ge=1)

    # Tasks
    # Where they are kept: file:///folder, s3://bucket/prefix, gs:// or az://; empty: in data_dir.
    registry_url: str = ""
    ready_heads: Path | None = DEFAULT_HEADS
    registry_poll_s: float = Field(0.5, gt=0, le=60)
    max_examples: int = Field(200_000, ge=4)
    max_jobs: int = Field(8, ge=1, description="training jobs queued or running at once")

    @field_validator("ready_heads", "redis_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("redis_url")
    @classmethod
    def _check_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_address(value.get_secret_value())
        return value

    @field_validator("encoder_url")
    @classmethod
    def _check_places(cls, value: str) -> str:
        parse_places(value)
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr) -> SecretStr:
        parse_keys(value.get_secret_value())
        return value

    @field_validator("registry_url")
    @classmethod
    def _check_registry(cls, value: str) -> str:
        if value:
            parse_registry_url(value)
        return value

    @field_validator("rate_limit")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        if value:
            import limits

            try:
                limits.parse(value)
            except ValueError:
                raise ValueError("expected a rate such as 1000/minute") from None
        return value

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.role == "api" and not parse_places(self.encoder_url):
            raise ValueError("role=api needs POLYHEAD_ENCODER_URL")
        if self.max_queued_texts < self.max_inputs:
            raise ValueError("max_queued_texts must be at least max_inputs")
        exposed = not is_loopback(self.host)
        if exposed and not self.api_keys.get_secret_value() and not self.allow_anonymous:
            raise ValueError(
                f"listening on {self.host} needs POLYHEAD_API_KEYS (for example "
                "'predict:KEY1,manage:KEY2'), or POLYHEAD_ALLOW_ANONYMOUS=true"
            )
        return self

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mb * 1024 * 1024)

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1024 * 1024)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_keys(text: str) -> dict[str, str]:
    """`scope:key,scope:key` to `{key: scope}`.

    Raises:
        ValueError: an unknown scope, or a key under 8 characters. The key is not repeated.
    """
    keys = {}
    for number, part in enumerate(filter(None, (p.strip() for p in text.split(","))), start=1):
        scope, _, key = (piece.strip() for piece in part.partition(":"))
        if scope not in ("predict", "manage"):
            raise ValueError(f"API key {number}: expected predict:KEY or manage:KEY")
        if len(key) < 8 or not key.isascii():
            raise ValueError(f"API key {number}: keys are ASCII of at least 8 characters")
        keys[key] = scope
    return keys
