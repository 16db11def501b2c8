"""L-BFGS (torch.optim.LBFGS): the only optimizer that calls its closure several times in a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lazytorch.autograd.modes import enable_grad, no_grad
from lazytorch.ops.shaping import cat
from lazytorch.optim.optimizer import Optimizer
from lazytorch.tensor import Tensor

Point = tuple[float, float, Tensor, float]
"""Step length, loss, gradient, slope along the direction."""


def _cubic_minimum(a: tuple[float, float, float], b: tuple[float, float, float], bounds: Any = None) -> float:
    """The minimum of the cubic through two points (place, value, slope), within bounds (by default between them)."""
    (x1, f1, g1), (x2, f2, g2) = a, b
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    place = (
        x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
        if x1 <= x2
        else (x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2)))
    )
    return min(max(place, low), high)


class _StrongWolfe:
    """A line search for a step that lowers the loss and flattens the slope enough."""

    c1, c2, tolerance, most = 1e-4, 0.9, 1e-9, 25

    def __init__(self, evaluate: Callable[[float], tuple[float, Tensor]], direction: Tensor, start: Point) -> None:
        self.evaluate, self.direction = evaluate, direction
        _, self.loss, _, self.slope = start
        self.start = start
        self.size = float(direction.abs().max())
        self.calls = 0

    def at(self, t: float) -> Point:
        """The loss's point at a step length."""
        self.calls += 1
        loss, gradient = self.evaluate(t)
        return t, loss, gradient, float(gradient.dot(self.direction))

    def _too_high(self, point: Point) -> bool:
        return point[1] > self.loss + self.c1 * point[0] * self.slope

    def bracket(self, t: float) -> tuple[list[Point], bool, int]:
        """Two points between which a good one lies (or one good one), whether it is found, and how many tries it took."""
        previous, point = self.start, self.at(t)
        tries = 0
        while tries < self.most:
            if self._too_high(point) or (tries > 1 and point[1] >= previous[1]):
                return [previous, point], False, tries
            if abs(point[3]) <= -self.c2 * self.slope:
                return [point], True, tries
            if point[3] >= 0:
                return [previous, point], False, tries
            low, high = point[0] + 0.01 * (point[0] - previous[0]), point[0] * 10
            following = _cubic_minimum(_ends(previous), _ends(point), (low, high))
            previous, point = point, self.at(following)
            tries += 1
        return [self.start, point], False, tries

    def zoom(self, points: list[Point], tries: int) -> Point:
        """Narrow the bracket until a good point is found."""
        stuck = False
        low, high = (0, 1) if points[0][1] <= points[-1][1] else (1, 0)
        while tries < self.most:
            width = abs(points[1][0] - points[0][0])
            if width * self.size < self.tolerance:
                break
            t = _cubic_minimum(_ends(points[0]), _ends(points[1]))
            left, right = min(points[0][0], points[1][0]), max(points[0][0], points[1][0])
            margin = 0.1 * (right - left)
            if min(right - t, t - left) < margin:
                if stuck or t >= right or t <= left:
                    t = right - margin if abs(t - right) < abs(t - left) else left + margin
                    stuck = False
                else:
                    stuck = True
            else:
                stuck = False
            point = self.at(t)
            tries += 1
            if self._too_high(point) or point[1] >= points[low][1]:
                points[high] = point
                low, high = (0, 1) if points[0][1] <= points[1][1] else (1, 0)
                continue
            if abs(point[3]) <= -self.c2 * self.slope:
                points[low] = point
                break
            if point[3] * (points[high][0] - points[low][0]) >= 0:
                points[high] = points[low]
            points[low] = point
        return points[low]

    def search(self, t: float) -> Point:
        """The accepted point."""
        points, done, tries = self.bracket(t)
        return points[0] if done else self.zoom(points, tries)


def _ends(point: Point) -> tuple[float, float, float]:
    return point[0], point[1], point[3]


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of the gradient (torch.optim.LBFGS)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params: list[Tensor] = self.param_groups[0]["params"]

    def _gradient(self) -> Tensor:
        return cat([p.new_zeros(p.numel()) if p.grad is None else p.grad.detach().reshape((-1,)) for p in self._params], 0)

    def _move(self, t: float, direction: Tensor) -> None:
        at = 0
        for parameter in self._params:
            count = parameter.numel()
            parameter.add_(direction[at : at + count].view_as(parameter), alpha=t)
            at += count

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Minimise along several directions. The closure computes the loss and its gradients."""
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        call = enable_grad()(closure)
        group, state = self.param_groups[0], self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = call()
        loss, evaluations = float(first), 1
        state["func_evals"] += 1
        gradient = self._gradient()
        if float(gradient.abs().max()) <= group["tolerance_grad"]:
            return first
        iterations = 0
        while iterations < group["max_iter"]:
            iterations += 1
            state["n_iter"] += 1
            self._choose_direction(group, state, gradient)
            state["prev_flat_grad"], state["prev_loss"] = gradient.clone(), loss
            direction = state["d"]
            t = group["lr"]
            if state["n_iter"] == 1:
                t *= min(1.0, 1.0 / float(gradient.abs().sum()))
            slope = float(gradient.dot(direction))
            if slope > -group["tolerance_change"]:
                state["t"] = t
                break
            before = loss
            t, loss, gradient, calls = self._along(call, direction, (t, loss, gradient, slope), iterations)
            state["t"] = t
            evaluations += calls
            state["func_evals"] += calls
            if (
                evaluations >= group["max_eval"]
                or float(gradient.abs().max()) <= group["tolerance_grad"]
                or float((direction * t).abs().max()) <= group["tolerance_change"]
                or abs(loss - before) < group["tolerance_change"]
            ):
                break
        return first

    def _choose_direction(self, group: dict[str, Any], state: dict[str, Any], gradient: Tensor) -> None:
        """Two loops over the history (Nocedal 1980)."""
        if state["n_iter"] == 1:
            state.update(d=-gradient, old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return
        directions, steps, inverse = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = gradient - state["prev_flat_grad"], state["d"] * state["t"]
        ys = float(y.dot(s))
        if ys > 1e-10:
            if len(directions) == group["history_size"]:
                for history in (directions, steps, inverse):
                    history.pop(0)
            directions.append(y)
            steps.append(s)
            inverse.append(1.0 / ys)
            state["H_diag"] = ys / float(y.dot(y))
        q = -gradient
        factors = [0.0] * len(directions)
        for i in reversed(range(len(directions))):
            factors[i] = float(steps[i].dot(q)) * inverse[i]
            q = q - directions[i] * factors[i]
        d = q * state["H_diag"]
        for i in range(len(directions)):
            d = d + steps[i] * (factors[i] - float(directions[i].dot(d)) * inverse[i])
        state["d"] = d

    def _along(
        self, call: Callable[[], Any], direction: Tensor, start: Point, iterations: int
    ) -> tuple[float, float, Tensor, int]:
        """Move along a direction. Returns the step length, the loss and gradient there, and how often it was computed."""
        group = self.param_groups[0]
        t, loss, gradient, slope = start
        if group["line_search_fn"] is None:
            self._move(t, direction)
            if iterations == group["max_iter"]:
                return t, loss, gradient, 0
            loss = float(call())
            return t, loss, self._gradient(), 1
        if group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        origin = [p.detach().clone() for p in self._params]

        def restore() -> None:
            for parameter, kept in zip(self._params, origin, strict=True):
                parameter.copy_(kept)

        def evaluate(length: float) -> tuple[float, Tensor]:
            self._move(length, direction)
            value = float(call())
            found = self._gradient()
            restore()
            return value, found

        search = _StrongWolfe(evaluate, direction, (0.0, loss, gradient.clone(), slope))
        t, loss, gradient, _ = search.search(t)
        self._move(t, direction)
        return t, loss, gradient, search.calls
