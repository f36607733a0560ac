"""What a synthesis job is told."""

from dataclasses import dataclass, field

from inranker.synthesis.filters.options import FilterExecution, FilterOptions
from inranker.synthesis.generators.base import Decoding
from inranker.synthesis.generators.openai import OpenAIExecution, OpenAIIdentity
from inranker.synthesis.generators.transformers import TransformersExecution, TransformersIdentity
from inranker.synthesis.generators.vllm import VllmExecution, VllmIdentity


@dataclass(frozen=True)
class SynthesizeIdentity:
    """What the queries depend on. Collection and model enter the fingerprint by their content, so they may move."""

    collection: str
    """Collection whose passages get queries: beir:PATH, ir_datasets:ID, files:DESCRIPTION.yaml, …"""
    model: str
    """The language model: a checkpoint directory, a hub id, or what the engine calls it."""
    generator: str = "transformers"
    """Engine: transformers (any causal language model, GGUF included), vllm, or openai (an endpoint of that API)."""
    language: str | None = None
    """Language of the collection (ISO 639-1 code); null: what the collection says."""
    fix_text: bool = False
    """Mend texts that were decoded wrongly, with ftfy, before anything else."""
    prompts: list[str] = field(default_factory=lambda: ["vanilla"])
    """Prompts, as NAME or NAME:WEIGHT; several are mixed, each query drawing one by weight. A name of those in
    docs/synthesis.md, or a Jinja template FILE.jinja."""
    queries_per_passage: int = 1
    """Queries asked for each passage."""
    passages: int | None = 100_000
    """Passages drawn from the collection, or all where they are fewer; null: all."""
    min_characters: int = 1
    """Draw only passages of at least so many characters."""
    max_characters: int | None = None
    """Draw only passages of at most so many characters."""
    strata: str | None = None
    """Draw alike from each part of the collection: `source:REGEX` (what the expression finds in the passage's id) or
    `cluster:N` (N clusters of passages by their words); null: from the whole."""
    examples: int = 3
    """Examples in prompts that take them from the collection."""
    example_pool: int | None = None
    """Draw each prompt's examples from so many judged pairs; null: every prompt shows the same."""
    examples_split: str = "train"
    """Split whose judged pairs are shown as examples; queries shown are listed in the manifest."""
    passage_words: int = 300
    """Words of a passage that the prompt shows; longer ones are cut there."""
    decoding: Decoding = field(default_factory=Decoding)
    """How tokens are drawn."""
    transformers: TransformersIdentity = field(default_factory=TransformersIdentity)
    """What the `transformers` engine's text depends on besides."""
    openai: OpenAIIdentity = field(default_factory=OpenAIIdentity)
    """What the `openai` engine's text depends on besides."""
    vllm: VllmIdentity = field(default_factory=VllmIdentity)
    """What the `vllm` engine's text depends on besides."""
    filters: list[str] = field(default_factory=list)
    """Filters of the generated queries, applied in this order: length, copied, duplicates, near_duplicates, language,
    log_prob, reranker, round_trip. Empty (the paper's recipe): every query stays."""
    filter: FilterOptions = field(default_factory=FilterOptions)
    """What each filter keeps."""
    shard_rows: int = 50_000
    """Passages of a file of the sample."""
    seed: int = 42
    """Seed of every draw."""


@dataclass(frozen=True)
class SynthesizeExecution:
    """How the job is run; may differ from one start to the next."""

    actors: int = 1
    """Generating actors, each with its own copy of the model."""
    max_actors: int | None = None
    """Upper size of the actor pool where the cluster scales; null: the same as `actors`."""
    gpus_per_actor: float = 0.0
    """GPUs an actor asks for; 0 generates on the CPU."""
    cpus_per_actor: float = 1.0
    """Logical CPUs an actor asks for."""
    node_resource: str | None = None
    """Custom Ray resource of the nodes to run on, such as the `label` of `ray start --resources '{"label": 1}'`;
    null: any node."""
    threads: int | None = None
    """Threads of a CPU actor; null: the machine's cores divided by the actors."""
    unit_rows: int | None = None
    """Passages of a unit of work, fixed at the first start; null: 512, fewer where actors would stand idle."""
    max_attempts: int = 4
    """Starts of one unit before the job ends with its name (a passage that kills its process is found this way)."""
    max_quarantined: float = 0.02
    """Share of prompts that may yield no query before the job counts as failed."""
    transformers: TransformersExecution = field(default_factory=TransformersExecution)
    """How the `transformers` engine runs."""
    openai: OpenAIExecution = field(default_factory=OpenAIExecution)
    """How the `openai` engine runs."""
    vllm: VllmExecution = field(default_factory=VllmExecution)
    """How the `vllm` engine runs."""
    filter: FilterExecution = field(default_factory=FilterExecution)
    """How filters are run."""
    progress: bool = True
    """Show a progress bar with prompts/s and ETA."""
    write_report: bool = True
    """Write report.html when the job is done."""
    price_per_hour: float | None = None
    """Price of an actor's accelerator for an hour, in any currency: `--plan` says what the job will cost, progress what
    it has cost."""
    prompts_per_second: float | None = None
    """Prompts that an actor answers in a second, for `--plan`; null: what finished units took, or a share of the
    peak."""
    peak_tflops: float | None = None
    """Peak of an actor's accelerator in the job's precision, in 10¹² operations a second (H100 in bfloat16: 989)."""
    utilisation: float = 0.2
    """Share of the peak that `--plan` expects where no rate is known; writing text reads all weights for each token,
    so it is lower than scoring's."""


@dataclass(frozen=True)
class SynthesizeConfig:
    """Let a language model write queries for passages of a collection."""

    identity: SynthesizeIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write queries to; the same one again resumes the job."""
    execution: SynthesizeExecution = field(default_factory=SynthesizeExecution)
    """How the job is run."""
