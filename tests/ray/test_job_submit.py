"""`ray job submit` of the stages to a real cluster: head and workers are processes of their own, S3 is what they share.

What users do: submit with the checkout as working directory or with the installed command, look at the logs, stop,
submit again, lose machines and get new ones.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from ray.job_submission import JobStatus, JobSubmissionClient
from safetensors.numpy import load_file

from cluster.local import LocalCluster
from inranker.fetch import local_folder, upload
from inranker.jobs.progress import PROGRESS
from inranker.labeling.config import LabelConfig
from inranker.labeling.read import read_labels
from inranker.labeling.verify import verify
from inranker.manifest import read_manifest
from inranker.rerankers.create import T5Shape
from inranker.storage import Store
from inranker.training.checkpoint import STATE
from inranker.training.loop import CHECKPOINTS
from inranker.training.meter import METRICS
from inranker.units import finished_units
from tests.builders import make_pairs, make_t5, pair_rows
from tests.distilling import recipe as distill_recipe
from tests.distilling import write_collection
from tests.s3_server import S3Server
from tests.unit.labeling.inprocess import label_here, label_job

UNITS, UNIT_ROWS = 12, 100
MORE_UNITS = 60  # a node takes ten seconds to join and to load the teacher
PATIENCE_SECONDS = 240
# Big enough for a unit to take a good part of a second: there is time to stop in the middle.
SHAPE = T5Shape(d_model=256, d_ff=1024, d_kv=32, num_heads=8, num_layers=4, num_decoder_layers=1)


@dataclass
class Jobs:
    """The `ray job` commands, pointed at one cluster."""

    cluster: LocalCluster
    repository: Path
    submitted: int = 0

    @property
    def client(self) -> JobSubmissionClient:
        """What the commands use; without the two seconds that a command takes to start."""
        return JobSubmissionClient(self.cluster.jobs_address)

    def submit(self, *words: str, working_dir: bool = True) -> str:
        """Start a job; its name."""
        self.submitted += 1
        name = f"job-{self.submitted}"
        environment = ["--runtime-env", str(self.repository / "cluster" / "runtime_env.yaml")]
        place = ["--working-dir", str(self.repository)] if working_dir else []
        self("submit", "--no-wait", "--submission-id", name, *environment, *place, "--", *words)
        return name

    def __call__(self, command: str, *words: str) -> str:
        """`ray job COMMAND WORDS`; what it printed."""
        ray = Path(sys.executable).with_name("ray")
        done = subprocess.run(
            [str(ray), "job", command, "--address", self.cluster.jobs_address, *words],
            env=self.cluster.variables(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def logs(self, name: str) -> str:
        """What a job has said so far."""
        return self.client.get_job_logs(name)

    def wait_until(self, name: str, condition: Callable[[], bool]) -> None:
        """Wait for something to become true while a job runs."""
        wait_for(lambda: self._running(name) and condition(), lambda: self.logs(name)[-3000:])

    def _running(self, name: str) -> bool:
        status = self.client.get_job_status(name)
        assert not status.is_terminal(), f"{status}: {self.logs(name)[-3000:]}"
        return True

    def end(self, name: str) -> JobStatus:
        """Wait for a job's end; how it ended."""
        wait_for(lambda: self.client.get_job_status(name).is_terminal(), lambda: self.logs(name)[-3000:])
        return self.client.get_job_status(name)

    def finish(self, name: str) -> str:
        """Wait for a job's success; what it said."""
        status, said = self.end(name), self.logs(name)
        assert status == JobStatus.SUCCEEDED, said[-4000:]
        return said


def wait_for(condition: Callable[[], bool], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s: {said()}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def jobs(s3_server: S3Server, repository: Path) -> Iterator[Jobs]:
    """A head and one node; tests that need more nodes add them, and take them away."""
    with LocalCluster(environment=s3_server.environment) as cluster:
        cluster.add_node(cpus=4)
        yield Jobs(cluster, repository)


@dataclass(frozen=True)
class Inputs:
    """What a label job starts from, on S3, and the labels it should give."""

    pairs: str
    teacher: str
    expected: str


@pytest.fixture(scope="module")
def inputs(s3_server: S3Server, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(UNITS, s3_server.make_prefix(), tokenizer, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def more_inputs(s3_server: S3Server, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(MORE_UNITS, s3_server.make_prefix(), tokenizer, tmp_path_factory.mktemp("more"))


def make_inputs(units: int, url: str, tokenizer: Path, folder: Path) -> Inputs:
    pairs = make_pairs(folder / "pairs", pair_rows(units * UNIT_ROWS), shard_rows=500)
    teacher = make_t5(folder / "teacher", tokenizer, seed=1, shape=SHAPE)
    expected = label_job(pairs, teacher, folder / "expected", unit_rows=UNIT_ROWS)
    label_here(expected)
    for name, place in (("pairs", pairs), ("teacher", teacher)):
        upload(place, Store(url), name)
    return Inputs(f"{url}/pairs", f"{url}/teacher", expected.output)


def label_words(inputs: Inputs, output: str, actors: int = 1) -> list[str]:
    return [
        *("--pairs", inputs.pairs, "--teacher", inputs.teacher, "--output", output, "--unit_rows", str(UNIT_ROWS)),
        *("--actors", str(actors), "--threads", "1"),
    ]


def label_config(inputs: Inputs, output: str) -> LabelConfig:
    return label_job(inputs.pairs, inputs.teacher, output, unit_rows=UNIT_ROWS)  # type: ignore[arg-type]


def assert_labels(inputs: Inputs, output: str) -> None:
    """Every row once, with the logits of an undisturbed job; every receipt true."""
    expected, found = read_labels(inputs.expected), read_labels(output)
    for name in ("shard", "row", "query_id", "passage_id"):
        assert found[name] == expected[name]
    for name in ("false_logit", "true_logit"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    assert verify(label_config(inputs, output))["problems"] == []


@pytest.fixture(scope="module")
def labels(inputs: Inputs, s3_server: S3Server) -> str:
    """Labels on S3, and a place there that knows of no disk."""
    url = s3_server.make_prefix()
    label_here(label_config(inputs, url))
    return url


def test_job_submit_label_stop_and_submit_again(jobs: Jobs, inputs: Inputs, s3_url: str) -> None:
    store, command = Store(s3_url), ["python", "pipelines/label.py", *label_words(inputs, s3_url)]
    first = jobs.submit(*command)
    jobs.wait_until(first, lambda: len(finished_units(store)) >= 3)
    assert jobs.client.stop_job(first)
    assert jobs.end(first) == JobStatus.STOPPED
    done = finished_units(store)
    receipts = {name: store.read(f"receipts/{name}.json") for name in done}
    assert 3 <= len(done) < UNITS and not store.exists("manifest.json")
    assert "the same command goes on from there" in jobs.logs(first)
    assert json.loads(store.read(PROGRESS))["state"] == "stopped"

    said = jobs.finish(jobs.submit(*command))
    assert f"/{UNITS * UNIT_ROWS / 1000:.2f}k" in said and "tokens/s" in said and "label: 100%" in said
    assert all(store.read(f"receipts/{name}.json") == receipt for name, receipt in receipts.items())
    assert_labels(inputs, s3_url)


@pytest.mark.slow
def test_job_submit_label_uses_a_node_that_comes_and_survives_one_that_goes(
    jobs: Jobs, more_inputs: Inputs, s3_url: str
) -> None:
    """The installed command, told nothing of a working directory."""
    store, (first,) = Store(s3_url), jobs.cluster.nodes
    # Two actors of which one has a place, until there is another node.
    words = [*label_words(more_inputs, s3_url, actors=2), "--cpus_per_actor", "3"]
    name = jobs.submit("inranker", "label", *words, working_dir=False)
    jobs.wait_until(name, lambda: bool(finished_units(store)))
    assert len(first.workers("PairScorer")) == 1
    second = jobs.cluster.add_node(cpus=4)
    jobs.wait_until(name, lambda: bool(second.workers("PairScorer")))
    done = finished_units(store)
    assert len(done) < MORE_UNITS, "the job was over before the node came; give it more units"
    receipts = {name: store.read(f"receipts/{name}.json") for name in done}
    jobs.cluster.kill_node(first)
    said = jobs.finish(name)
    again = said.count("is started again in scoring")
    assert again <= 2, said  # no more than were in the hands of its actor
    assert all(store.read(f"receipts/{name}.json") == receipt for name, receipt in receipts.items())
    assert_labels(more_inputs, s3_url)


@pytest.mark.slow
def test_job_submit_train_stops_with_a_checkpoint_on_s3_and_goes_on(
    jobs: Jobs, inputs: Inputs, labels: str, s3_url: str
) -> None:
    def words(output: str) -> list[str]:
        return [
            *("--labels", labels, "--start", inputs.teacher, "--output", output, "--steps", "100"),
            *("--batch_size", "16", "--learning_rate", "1e-3", "--log_every", "1", "--checkpoint_every", "20"),
            *("--threads", "1"),
        ]

    stopped, undisturbed = f"{s3_url}/stopped", f"{s3_url}/undisturbed"
    store = Store(stopped)
    command = ["python", "pipelines/train.py", *words(stopped)]
    first = jobs.submit(*command)
    jobs.wait_until(first, lambda: any(name.endswith(STATE) for name in store.list(CHECKPOINTS)))
    jobs("stop", first)
    assert jobs.end(first) == JobStatus.STOPPED
    found = re.search(r"stopped at step (\d+) of 100; the same command goes on from there", jobs.logs(first))
    assert found, jobs.logs(first)[-3000:]
    step = int(found[1])
    kept = [json.loads(store.read(name))["step"] for name in store.list(CHECKPOINTS) if name.endswith(STATE)]
    assert max(kept) == step and 20 <= step < 100 and not store.exists("manifest.json")
    assert len(store.read(METRICS).splitlines()) == step

    said = jobs.finish(jobs.submit(*command))
    assert "step 100/100" in said and "loss" in said
    jobs.finish(jobs.submit("python", "pipelines/train.py", *words(undisturbed)))
    for url in (stopped, undisturbed):
        lines = [json.loads(line) for line in Store(url).read(METRICS).splitlines()]
        assert [line["step"] for line in lines] == list(range(1, 101))
    mine, theirs = (load_file(local_folder(f"{url}/student") / "model.safetensors") for url in (stopped, undisturbed))
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        np.testing.assert_allclose(weight, theirs[name], atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_job_submit_distill_runs_a_recipe_from_s3_to_s3(jobs: Jobs, s3_url: str, tmp_path: Path) -> None:
    recipe, collection = tmp_path / "recipe.yaml", write_collection(tmp_path / "collection")
    recipe.write_text(yaml.safe_dump(distill_recipe()))
    words = ["python", "pipelines/distill.py", str(recipe), "--output", s3_url, "--collection", f"beir:{collection}"]
    store = Store(s3_url)
    first = jobs.submit(*words)
    jobs.wait_until(first, lambda: bool(store.list("labels/receipts")))
    assert jobs.client.stop_job(first)
    assert jobs.end(first) == JobStatus.STOPPED
    said = jobs.finish(jobs.submit(*words))
    assert "skipped (done and verified): vocabulary, teacher-start" in said
    summary = json.loads(store.read("summary.json"))
    assert {"bm25", "teacher", "student"} <= summary.keys() and not summary["failed"]
    assert read_manifest(f"{s3_url}/student").inputs["labels"]["content_hash"]
