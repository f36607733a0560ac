"""The ray engine: the same app in replicas of Ray Serve, behind its proxies.

`build` makes the application of a Serve config file (`import_path: inranker.serving.cluster:build`); `serve_on_ray`
deploys it from a command and keeps it until it is told to end.
"""

import os
import signal
import threading
from dataclasses import asdict, replace
from typing import Any

import ray
from ray import serve
from ray.util import metrics as ray_metrics

from inranker.config import build_config
from inranker.errors import UserError
from inranker.raysession import cpu_environment, session_options
from inranker.serving.config import ServeConfig
from inranker.serving.local import listen
from inranker.serving.metrics import MEASURES, PREFIX, Metrics, Sink
from inranker.serving.protocol import HEADER_SECONDS, WRITE_SECONDS

APPLICATION = "inranker"
CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
CALLBACK_PATH = "inranker.serving.protocol.proxy_callback"
VERBS = {"counter": "inc", "gauge": "set", "histogram": "observe"}


@serve.ingress()
class Replica:
    """Models and app in a process of Ray Serve's."""

    def __init__(self, config: dict[str, Any]) -> None:
        from inranker.serving.service import load

        self._service = load(build_config(ServeConfig, config, "the server's config"), Metrics(_ray_sink()))

    def __serve_build_asgi_app__(self) -> Any:
        from inranker.serving.app import build_app

        return build_app(self._service)

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces a replica that raises.

        Raises:
            RuntimeError: a model's scoring thread has ended.
        """
        self._service.require_alive()

    def __del__(self) -> None:
        if hasattr(self, "_service"):
            self._service.close()


def build(args: dict[str, Any]) -> serve.Application:
    """The application of a Serve config file, whose `args` are the fields of `ServeConfig`.

    Raises:
        UserError: an unknown field, or a wrong value.
    """
    return application(build_config(ServeConfig, args, "args of the Serve config"))


def application(config: ServeConfig) -> serve.Application:
    """The deployment of a config, bound and scaled."""
    scaling = config.scaling
    if scaling.max_replicas > scaling.min_replicas:
        size: dict[str, Any] = {
            "autoscaling_config": {
                "min_replicas": scaling.min_replicas,
                "max_replicas": scaling.max_replicas,
                "target_ongoing_requests": scaling.target_requests,
            }
        }
    else:
        size = {"num_replicas": scaling.min_replicas}
    threads = config.threads or max(1, int(scaling.cpus))
    deployment = serve.deployment(
        name="Reranker",
        max_ongoing_requests=scaling.max_requests,
        max_queued_requests=scaling.queued_requests,
        graceful_shutdown_timeout_s=config.limits.shutdown_seconds,
        ray_actor_options={
            "num_cpus": scaling.cpus,
            "num_gpus": scaling.gpus,
            "runtime_env": {"env_vars": cpu_environment(threads)},
        },
        **size,
    )(Replica)
    return deployment.bind(asdict(replace(config, threads=threads)))


def serve_on_ray(config: ServeConfig) -> dict[str, Any]:
    """Deploy, and serve until SIGTERM or SIGINT; requests in flight finish first.

    Raises:
        UserError: the address is taken, or the models cannot be loaded.
    """
    # A proxy is one of Ray's processes; those of a private Ray are born with this process's environment.
    os.environ.setdefault(CALLBACK, CALLBACK_PATH)
    os.environ.setdefault(HEADER_SECONDS, str(config.limits.header_seconds))
    os.environ.setdefault(WRITE_SECONDS, str(config.limits.write_seconds))
    if not ray.is_initialized():
        ray.init(**session_options())
    # After Ray's own handlers, which end the process on the spot.
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    # The token itself does not travel through the cluster's metadata.
    config = replace(config, require_token=config.require_token or bool(os.environ.get(config.token_variable)))
    port = deploy(config)
    print(f"serving {config.model} on Ray Serve at http://{config.host}:{port}", flush=True)
    try:
        ended.wait()
        # Replicas answer what they have before they end; only then may the proxies go, through which they answer.
        serve.delete(APPLICATION)
    finally:
        serve.shutdown()
    return {"engine": "ray"}


def deploy(config: ServeConfig) -> int:
    """Run the application on the connected Ray; returns its port once replicas take requests.

    Raises:
        UserError: the address is taken, or no replica could start.
    """
    # Bound and let go again: a port that is taken is said at once, and 0 becomes a free one.
    with listen(config.host, config.port) as probe:
        port: int = probe.getsockname()[1]
    limits = config.limits
    serve.start(
        http_options={
            "host": config.host,
            "port": port,
            "keep_alive_timeout_s": 75,
            "request_timeout_s": limits.body_seconds + limits.request_seconds + 5,
        }
    )
    try:
        serve.run(application(config), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise UserError(f"the application did not start: {' '.join(str(error).split())[-600:]}") from error
    return port


def _ray_sink() -> Sink:
    """Counts into Ray's metrics, which every node exports for Prometheus."""
    kinds = {"counter": ray_metrics.Counter, "gauge": ray_metrics.Gauge, "histogram": ray_metrics.Histogram}
    instruments: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        options = {"boundaries": list(measure.buckets)} if measure.buckets else {}
        instruments[name] = kinds[measure.kind](
            PREFIX + name, description=measure.help, tag_keys=measure.labels, **options
        )

    def add(name: str, value: float, labels: dict[str, str]) -> None:
        instrument = instruments[name]
        getattr(instrument, VERBS[MEASURES[name].kind])(value, labels)

    return add
