"""Parallel micro-batches: in order, with the draws of a sequential run, and no thread left over."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.fitting.microbatches import PARALLEL, OrderedTurns, map_parallel, micro_batch_count
from bench.fitting.training import VariationalSettings, accumulate
from models.hgvae import HGVAE
from models.inference.map import Map
from tests.conftest import walk

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(PARALLEL)
    yield
    torch.set_num_threads(before)


def test_workers_run_in_parallel_and_yield_in_order() -> None:
    both = threading.Barrier(PARALLEL, timeout=10)

    def work(item: int) -> tuple[int, int]:
        both.wait()  # passed only while another item is worked on
        time.sleep(0.02 * (item == 0))
        return item, torch.get_num_threads()

    assert list(map_parallel(work, range(6), CPU)) == [(item, 1) for item in range(6)]
    assert torch.get_num_threads() == PARALLEL


@pytest.mark.parametrize(("threads", "items"), [(1, 6), (2, 1)])
def test_with_one_thread_or_item_work_runs_in_the_calling_thread(threads: int, items: int) -> None:
    torch.set_num_threads(threads)
    here = threading.get_ident()
    found = list(map_parallel(lambda _: threading.get_ident(), range(items), CPU))
    assert found == [here] * items


def test_after_an_error_no_further_item_is_started() -> None:
    started = []

    def work(item: int) -> None:
        started.append(item)
        if item == 1:
            raise ValueError("of item 1")
        time.sleep(0.05)

    with pytest.raises(ValueError, match="of item 1"):
        list(map_parallel(work, range(50), CPU))
    assert len(started) < 10
    assert torch.get_num_threads() == PARALLEL
    assert not [one for one in threading.enumerate() if one.name.startswith("micro-batch")]


def test_an_error_in_a_turn_does_not_block_the_next_turn() -> None:
    turns = OrderedTurns()

    def work(number: int) -> int:
        with turns.take(number):
            if number == 0:
                raise ValueError("of the first")
            return number

    with pytest.raises(ValueError, match="of the first"):
        list(map_parallel(work, range(4), CPU))


@pytest.mark.parametrize(
    ("least", "items", "count"),
    [(1, 9, 1), (2, 9, 2), (3, 9, 4), (13, 800, 14), (3, 3, 3)],
)
def test_no_worker_is_left_idle(least: int, items: int, count: int) -> None:
    assert micro_batch_count(least, items) == count


def model() -> HGVAE:
    torch.manual_seed(0)
    latents = ((1, 4), (4, 4))
    return HGVAE(walk(1).spec, HGVAE.Settings(latents=latents, width=4))


def gradient_of(weight: torch.nn.Parameter) -> torch.Tensor:
    assert weight.grad is not None
    return weight.grad.flatten()


def test_a_train_step_has_the_draws_and_gradients_of_one_thread() -> None:
    motion = walk(24).tensor()
    found = []
    for threads in (1, 2, 4, 2):
        torch.set_num_threads(threads)
        network = model().train()
        torch.manual_seed(1)
        settings = VariationalSettings(micro_batch=5)
        losses = accumulate(network, {"motion": motion}, settings, kl_weight=1.0)
        gradient = torch.cat([gradient_of(one) for one in network.parameters()])
        found.append((losses["loss"], gradient, torch.rand(1)))
    for loss, gradient, after in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-5, atol=1e-6)
        assert torch.equal(after, found[0][2])
    assert torch.equal(found[1][1], found[3][1])


def test_reduced_precision_is_set_in_every_worker() -> None:
    motion = walk(24).tensor()
    gradients = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        network = model().train()
        torch.manual_seed(1)
        settings = VariationalSettings(micro_batch=6, precision="bf16")
        accumulate(network, {"motion": motion}, settings, kl_weight=1.0)
        gradients.append(torch.cat([gradient_of(one) for one in network.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_backward_pass_has_the_precision_of_the_forward_pass(threads: int) -> None:
    seen: list[str] = []

    class Recorder(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return gradients[0]

    class Recorded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Parameter(torch.ones(3))

        def losses(self, motion: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": (Recorder.apply(self.a) * motion).mean()}

    torch.set_num_threads(threads)
    before = torch.get_float32_matmul_precision()
    settings = VariationalSettings(micro_batch=2, precision="tf32")
    accumulate(Recorded(), {"motion": torch.ones(8, 3)}, settings)
    assert seen == 8 * ["high"]
    assert torch.get_float32_matmul_precision() == before


def test_two_weights_with_a_shared_gradient_tensor_have_separate_gradients() -> None:
    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))

        def losses(self, motion: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": ((self.a + self.b) * motion).sum() / len(motion)}

    network = Sum()
    accumulate(network, {"motion": torch.ones(4, 3)}, VariationalSettings(micro_batch=2))
    for weight in (network.a, network.b):
        assert weight.grad is not None
        assert torch.equal(weight.grad, torch.ones(3))


@pytest.mark.parametrize("objective", ["posterior", "elbo"])
def test_parallel_map_inference_finds_what_it_finds_with_one_thread(objective: str) -> None:
    motion = walk(20).tensor()
    occluded = torch.rand(motion.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    network = model()
    filled = torch.where(occluded, network.mean, motion)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        inference = Map.model_validate({"steps": 3, "batch": 4, "objective": objective})
        found.append(inference.complete(network, filled, occluded))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-4)
    assert not torch.equal(found[0], filled)
