"""What `training.py` compares: this project's trainer, `transformers.Trainer`, and the released trainer's procedure."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from inranker.rerankers import load_contract, token_ids
from inranker.training.config import TrainExecution, TrainIdentity
from inranker.training.custody import find_source
from inranker.training.job import Job, Place, order_rules, prepare_data, total_steps
from inranker.training.meter import LOSS
from inranker.training.order import Order
from inranker.training.student import open_start
from inranker.training.worker import Trainer as Ours

Collate = Callable[[np.ndarray], dict[str, torch.Tensor]]
Run = Callable[[int], tuple[float, list[float]]]

BATCH, LENGTH = 32, 512
SUFFIX_ROOM = 10  # tokens that the released trainer leaves for the suffix


def make_contender(
    name: str, identity: TrainIdentity, folder: Path, rows: list[dict[str, Any]], device: torch.device
) -> Run:
    """What makes the first updates of one contender, from the start weights: updates -> (seconds, losses)."""
    if name == "inranker":
        work_alone(device)
        return OurContender(identity, folder / name, device).run
    start = open_start(identity)
    data = prepare_data(find_source(identity), start.encoder, folder / name, Place())
    order = Order(order_rules(identity), data.lengths, data.positive, data.groups)
    batches = [order.batch(step) for step in range(total_steps(identity, order))]
    if name == "transformers":
        return HuggingFace(identity, data, batches, device).run
    return Original(identity, rows, data, batches, device).run


def work_alone(device: torch.device) -> None:
    """Make this process the only worker of its job, without Ray."""
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)


def make_updates(trainer: Ours, count: int) -> list[torch.Tensor]:
    """The next updates of a trainer; of each what it measured, `LOSS` among it, on the trainer's device."""
    vectors = []
    for _ in range(count):
        vectors.append(trainer.update(trainer.order.batch(trainer.step), stop=False))
        trainer.step += 1
    return vectors


class NoHooks:
    """Nobody keeps checkpoints and nobody asks to stop."""

    def latest(self) -> nullcontext[None]:
        """No checkpoint."""
        return nullcontext(None)

    def keep(self, place: Path, metrics: dict[str, Any]) -> None:
        """None is kept."""

    def tell(self, progress: dict[str, Any]) -> bool:
        """Never stop."""
        return False


class OurContender:
    """This project's trainer, from the start weights anew each time."""

    def __init__(self, identity: TrainIdentity, folder: Path, device: torch.device) -> None:
        execution = TrainExecution(cache=str(folder), trackers=[])
        source, on_gpu = find_source(identity), device.type == "cuda"
        self.job = Job(identity, execution, source, str(folder / "out"), on_gpu, torch.get_num_threads())
        self.device = device

    def run(self, updates: int) -> tuple[float, list[float]]:
        """Seconds and losses of the first updates."""
        trainer = Ours(self.job, Place(), NoHooks(), self.device)
        started = _now(self.device)
        vectors = make_updates(trainer, updates)
        spent = _now(self.device) - started
        trainer.engine.destroy()
        return spent, [float(vector[LOSS]) for vector in vectors]


class HuggingFace:
    """`transformers.Trainer`: token ids made before, batches of like length, padded to their longest."""

    def __init__(self, identity: TrainIdentity, data: Any, batches: list[np.ndarray], device: torch.device) -> None:
        self.start, self.data, self.batches, self.device = Path(identity.start), data, batches, device
        self.bf16 = identity.precision == "bfloat16"
        self.tokenizer = AutoTokenizer.from_pretrained(self.start)

    def collate(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """A batch as the model takes it."""
        batch = self.data.batch(rows)
        mask = batch.mask_BL if batch.mask_BL is not None else torch.ones_like(batch.input_ids_BL, dtype=torch.bool)
        teacher = batch.targets.teacher_logits_B2
        return {"input_ids": batch.input_ids_BL, "attention_mask": mask.long(), "labels": teacher}

    def run(self, updates: int) -> tuple[float, list[float]]:
        """Seconds and losses of the first updates."""
        model = AutoModelForSeq2SeqLM.from_pretrained(self.start, dtype=torch.float32, dropout_rate=0.0)
        answers = token_ids(load_contract(self.start), self.tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            chosen = TrainingArguments(
                output_dir=folder,
                max_steps=updates,
                per_device_train_batch_size=BATCH,
                learning_rate=7e-5,
                lr_scheduler_type="constant",
                use_cpu=self.device.type == "cpu",
                bf16=self.bf16,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                log_level="error",
                remove_unused_columns=False,
            )
            clock = Clock(self.device)
            trainer = FixedBatches(model, chosen, train_dataset=_Rows(self.batches), callbacks=[clock])
            trainer.prepare(answers, self.collate, self.batches)
            trainer.train()
        return clock.spent, [float(loss) for loss in trainer.losses]


class Original(HuggingFace):
    """The released trainer's procedure: each batch tokenised as it comes and padded to 512."""

    def __init__(
        self,
        identity: TrainIdentity,
        rows: list[dict[str, Any]],
        data: Any,
        batches: list[np.ndarray],
        device: torch.device,
    ) -> None:
        super().__init__(identity, data, batches, device)
        self.rows = rows

    def collate(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """A batch as the model takes it."""
        encode = self.tokenizer.encode
        ids = []
        for row in rows:
            query = encode(f"Query: {self.rows[row]['query']}", add_special_tokens=False)
            document = encode(f"Document: {self.rows[row]['passage']}", add_special_tokens=False)
            suffix = encode(" Relevant:", add_special_tokens=False)
            ids.append((query + document[: LENGTH - SUFFIX_ROOM - len(query)] + suffix)[:LENGTH])
        padded = self.tokenizer.pad({"input_ids": ids}, padding="max_length", max_length=LENGTH, return_tensors="pt")
        theirs = super().collate(rows)
        width = theirs["input_ids"].shape[1]
        assert torch.equal(padded["input_ids"][:, :width], theirs["input_ids"]), "the contenders' token ids differ"
        return {**padded, "labels": theirs["labels"]}


class FixedBatches(Trainer):
    """A Trainer that takes given batches in their order and compares two logits of the whole vocabulary's."""

    def prepare(self, answers: tuple[int, int], collate: Collate, batches: list[np.ndarray]) -> None:
        """What to train on; `answers` are the (false, true) token ids."""
        self.answers, self.loader = list(answers), _Loader(collate, batches)
        self.losses: list[torch.Tensor] = []

    def get_train_dataloader(self) -> Any:
        """The batches, collated as they come."""
        return self.loader

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean over pairs and over the two logits of the squared distance to the centred teacher."""
        teacher = inputs["labels"]
        target = teacher - teacher.mean(dim=1, keepdim=True)
        start = torch.full((len(teacher), 1), model.config.decoder_start_token_id, device=teacher.device)
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], decoder_input_ids=start
        ).logits[:, 0, self.answers]
        loss = torch.nn.functional.mse_loss(logits.float(), target)
        self.losses.append(loss.detach())
        return loss


class _Loader:
    def __init__(self, collate: Collate, batches: list[np.ndarray]) -> None:
        self.collate, self.batches = collate, batches

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return (self.collate(rows) for rows in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Rows(torch.utils.data.Dataset[int]):
    def __init__(self, batches: list[np.ndarray]) -> None:
        self.count = sum(len(rows) for rows in batches)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> int:
        return row


class Clock(TrainerCallback):
    """Seconds from the first update's start to the last one's end, loading and saving left out."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.started, self.spent = device, 0.0, 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.started = _now(self.device)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """An update is made."""
        self.spent = _now(self.device) - self.started


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
