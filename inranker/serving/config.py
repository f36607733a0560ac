"""What is served, to whom, and how much of it at a time."""

from dataclasses import dataclass, field
from typing import Literal

from inranker.errors import UserError

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may ask for. What is beyond is refused with a 4xx and a sentence."""

    body_bytes: int = 8 * MIB
    """size of a request's body"""
    documents: int = 1000
    """documents of a request"""
    characters: int = 4_000_000
    """characters of a request's query and documents together"""
    queued_passages: int = 5000
    """passages that wait or are being scored, over all requests; a request beyond is answered 429 with Retry-After"""
    request_seconds: float = 60.0
    """time to answer, waiting included; a request that takes longer is answered 503 with Retry-After"""
    header_seconds: float = 10.0
    """time that a client may take to send a request's line and headers"""
    body_seconds: float = 30.0
    """time that a client may take to send a request's body"""
    write_seconds: float = 30.0
    """time that a client may leave an answer unread before it is disconnected"""
    connections: int = 1000
    """open connections of the local engine; further ones are answered 503"""
    shutdown_seconds: float = 30.0
    """time that requests in flight get to finish at shutdown"""


@dataclass(frozen=True)
class Scaling:
    """How Ray Serve runs replicas, each with a copy of the models."""

    min_replicas: int = 1
    """replicas at least"""
    max_replicas: int = 1
    """replicas at most; more than min_replicas turns autoscaling on"""
    target_requests: float = 8.0
    """requests in flight that autoscaling aims at for each replica"""
    max_requests: int = 64
    """requests in flight at a replica; further ones wait at the proxy"""
    queued_requests: int = 256
    """requests that may wait at a proxy; further ones are answered 503"""
    cpus: float = 1.0
    """logical CPUs of a replica"""
    gpus: float = 0.0
    """GPUs of a replica; a fraction shares one"""


@dataclass(frozen=True)
class ServeConfig:
    """A server of rerankers."""

    model: str
    """directory of a checkpoint, or a hub id"""
    teacher: str | None = None
    """a second reranker, shown beside the first on the page and callable by its name"""
    engine: Literal["ray", "local"] = "ray"
    """ray: Ray Serve, any number of replicas and nodes; local: one process"""
    host: str = "127.0.0.1"
    """address to listen at; 0.0.0.0 for every one of this machine"""
    port: int = 8000
    """port to listen at"""
    backend: str = "torch"
    """torch, onnx or ct2: what runs the model"""
    device: str | None = None
    """cpu, cuda, …; the best one there is when null"""
    precision: str | None = None
    """float32, bfloat16 or int8; what suits the device when null"""
    threads: int | None = None
    """CPU threads of a replica; the cores it may use when null"""
    max_length: int | None = None
    """tokens of a pair that the model reads; the model's own when null"""
    long_documents: Literal["truncate", "windows"] = "truncate"
    """a document longer than the model reads is cut, or read in overlapping windows of which the best counts"""
    batch_tokens: int | None = None
    """tokens scored at a time, of all requests together; what suits the device when null"""
    any_model: bool = True
    """answer requests that name an unknown model with the default one (clients name hosted models); false: 404"""
    collection: str | None = None
    """a collection to search on the page, such as beir:PATH; its texts are held in memory"""
    language: str | None = None
    """ISO 639-1 code of BM25's analyser; the collection's own, else en, when null"""
    cache: str | None = None
    """local directory that keeps the collection's index"""
    token_variable: str = "INRANKER_SERVE_TOKEN"
    """environment variable that holds the bearer token; where it is empty, none is asked for"""
    require_token: bool = False
    """refuse to start where that variable is empty"""
    limits: Limits = field(default_factory=Limits)
    """what requests may ask for"""
    scaling: Scaling = field(default_factory=Scaling)
    """replicas of the ray engine"""

    def __post_init__(self) -> None:
        for name, value in vars(self.limits).items():
            if value <= 0:
                raise UserError(f"limits.{name} {value} must be above 0")
        if not 0 <= self.port <= 65535:
            raise UserError(f"port {self.port} must be between 0 and 65535 (0 takes a free one)")
        if not 1 <= self.scaling.min_replicas <= self.scaling.max_replicas:
            raise UserError(
                f"scaling.min_replicas {self.scaling.min_replicas} must be from 1 to scaling.max_replicas "
                f"{self.scaling.max_replicas}; raise max_replicas"
            )
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise UserError(f"batch_tokens {self.batch_tokens} must be 1 or more")
