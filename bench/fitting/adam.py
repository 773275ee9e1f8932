"""Adam (Kingma and Ba, 2015, algorithm 1), computed by torch's fused kernel.

Creating torch's own Adam imports its compiler: two seconds for each process that fits or runs MAP,
longer than most cells take.
"""

from collections.abc import Iterable
from operator import attrgetter

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam with the usual moment decays 0.9 and 0.999 and epsilon 1e-8, without AMSGrad.

    Args:
        parameters: tensors to optimise; a step leaves those without a gradient unchanged.
        rate: the learning rate; the attribute may be changed at any time.
        weight_decay: factor of the L2 penalty, ``weight_decay * parameter`` in the gradient.
    """

    def __init__(
        self, parameters: Iterable[Tensor], rate: float, weight_decay: float = 0.0
    ) -> None:
        self.parameters = list(parameters)
        self.rate = rate
        self.weight_decay = weight_decay
        self.means = [torch.zeros_like(one, requires_grad=False) for one in self.parameters]
        self.squares = [torch.zeros_like(one) for one in self.means]
        self.steps = [torch.zeros((), device=one.device) for one in self.parameters]

    def clear(self) -> None:
        """Set the gradients of all parameters to None."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters from their gradients."""
        slots = zip(self.parameters, self.means, self.squares, self.steps, strict=True)
        active = [slot for slot in slots if slot[0].grad is not None]
        if not active:
            return
        parameters, means, squares, steps = map(list, zip(*active, strict=True))
        adam(
            parameters,
            list(map(attrgetter("grad"), parameters)),
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rate,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Return the moments and step counts by name; the tensors themselves, not copies."""
        slots = {"mean": self.means, "square": self.squares, "step": self.steps}
        return {
            f"{slot}.{number}": value
            for slot, values in slots.items()
            for number, value in enumerate(values)
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Copy a state, as returned by ``state``, into this optimiser."""
        for name, value in self.state().items():
            value.copy_(state[name])
