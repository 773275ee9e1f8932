"""Adam (Kingma and Ba, 2015, algorithm 1), computed by torch's fused kernel.

torch's own class imports its compiler when it is made: two seconds for each process that fits or
ascends, longer than most cells take.
"""

from collections.abc import Iterable
from operator import attrgetter

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Lowers a loss by the gradients that its parameters have.

    Args:
        parameters: what is to be changed; one without a gradient is left as it is.
        rate: the size of a step, which may be set anew at any time.
        weight_decay: L2 penalty, whose slope is added to the gradients.
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
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters."""
        kept = zip(self.parameters, self.means, self.squares, self.steps, strict=True)
        given = [one for one in kept if one[0].grad is not None]
        if not given:
            return
        parameters, means, squares, steps = map(list, zip(*given, strict=True))
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
        """Return, by name, what must be kept to go on later: the tensors themselves."""
        slots = {"mean": self.means, "square": self.squares, "step": self.steps}
        return {
            f"{slot}.{number}": value
            for slot, values in slots.items()
            for number, value in enumerate(values)
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a kept state."""
        for name, value in self.state().items():
            value.copy_(state[name])
