"""Standard errors of means over pairs, and the permutation null of a measure."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32
from numpy.typing import ArrayLike

# Values of the null that differ from the measured one by rounding count as equal to it.
_ROUNDING = 1e-5


class Estimate(NamedTuple):
    """A mean and its standard error, NaN where there is nothing to estimate it from."""

    mean: Float[np.ndarray, "..."]
    stderr: Float[np.ndarray, "..."]


def mean_of_pairs(values: Float[np.ndarray, "*batch k k"]) -> Estimate:
    """The mean over ordered pairs of different members, with the delete-one-member jackknife.

        se^2 = (K - 1)/K sum_k (m_k - m)^2,    m_k the mean over the pairs without member k, m the mean of the m_k:

    the K (K - 1) pairs of K members are not independent. NaN entries are left out.

    Args:
      values: the measure A->B at [..., a, b]; the diagonal is not used.

    Returns:
      Arrays of the leading shape. The standard error needs at least 3 members with a pair.

    Reference:
      Efron & Stein 1981, Annals of Statistics 9.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import mean_of_pairs
      >>> k = np.arange(4.0)
      >>> mean, stderr = mean_of_pairs(k[:, None] + k)
      >>> float(mean), round(float(stderr), 3)
      (3.0, 1.291)
    """
    values = np.where(np.eye(values.shape[-1], dtype=bool), np.nan, np.asarray(values, np.float64))
    present = np.isfinite(values)
    filled = np.where(present, values, 0.0)

    total, count = filled.sum((-2, -1)), present.sum((-2, -1))
    left = count[..., None] - _touching(present)
    without = np.divide(total[..., None] - _touching(filled), left, out=np.full(left.shape, np.nan), where=left > 0)
    # A member without any pair (it diverged) is no sample; leaving it out changes nothing.
    without = np.where(_touching(present) > 0, without, np.nan)
    used = np.isfinite(without).sum(-1)
    squares = np.nansum((without - nanmean(without, -1)[..., None]) ** 2, -1) * np.maximum(used - 1, 0)
    return Estimate(nanmean(values, (-2, -1)), _root_ratio(squares, used, used > 2))


def jackknife(without: Float[np.ndarray, "*batch samples"]) -> Float[np.ndarray, "*batch"]:
    """The standard error of a statistic, from its values without each of the independent samples along the last axis.

        se^2 = (n - 1)/n sum_k (s_k - s)^2,    s the mean of the s_k.

    NaN of fewer than two, and where one of them is not finite.
    """
    n = without.shape[-1]
    if n < 2:
        return np.full(without.shape[:-1], np.nan)
    return np.asarray(np.sqrt((n - 1) * np.var(without, axis=-1)))


def _touching(x: np.ndarray) -> np.ndarray:
    """The sum over all pairs of which member k is one side."""
    return x.sum(-1) + x.sum(-2)


def mean_of_samples(values: Float[np.ndarray, "*batch samples"]) -> Estimate:
    """The mean of independent samples along the last axis, with its standard error; NaN entries are left out."""
    values = np.asarray(values, np.float64)
    count = np.isfinite(values).sum(-1)
    mean = nanmean(values, -1)
    squares = np.nansum((values - mean[..., None]) ** 2, -1)
    return Estimate(mean, _root_ratio(squares, count * (count - 1), count > 1))


class Null:
    """What values of a measure are under shuffled rows, accumulated one permutation at a time.

    Attributes:
      count: permutations so far.
    """

    def __init__(self, observed: ArrayLike | float, larger_is_more_similar: bool) -> None:
        self._observed = np.asarray(observed, np.float64)
        self._sign = 1.0 if larger_is_more_similar else -1.0
        self._mean = np.zeros(self._observed.shape)
        self._squares = np.zeros(self._observed.shape)
        self._as_extreme = np.zeros(self._observed.shape, np.int64)
        self.count = 0

    def add(self, values: ArrayLike | float) -> None:
        """Adds the values of one permutation."""
        values = np.asarray(values, np.float64)
        self.count += 1
        change = values - self._mean
        self._mean += change / self.count
        self._squares += change * (values - self._mean)
        tolerance = _ROUNDING * np.maximum(1e-1, np.maximum(np.abs(self._observed), np.abs(values)))
        self._as_extreme += self._sign * (values - self._observed) >= -tolerance

    def mean(self) -> np.ndarray:
        """The mean over permutations."""
        return self._mean

    def std(self) -> np.ndarray:
        """The standard deviation over permutations; NaN of a single one."""
        count = np.full(self._mean.shape, self.count - 1)
        return _root_ratio(self._squares, count, count > 0)

    def z(self) -> np.ndarray:
        """(observed - mean) / std; NaN where the null does not vary."""
        std = self.std()
        z = np.divide(self._observed - self._mean, std, out=np.full(std.shape, np.nan), where=std > 0)
        return np.asarray(z)

    def p(self) -> np.ndarray:
        """(1 + permutations at least as similar) / (1 + permutations), one-sided (Phipson & Smyth 2010)."""
        p = (1 + self._as_extreme) / (1 + self.count)
        return np.where(np.isfinite(self._observed) & np.isfinite(self._mean), p, np.nan)


def draw_orders(permutations: int, n: int, seed: int) -> Int32[np.ndarray, "permutations n"]:
    """Shuffled orders of n probes. The first ones do not depend on how many there are."""
    orders = [np.random.default_rng([seed, i]).permutation(n) for i in range(permutations)]
    return np.array(orders, np.int32).reshape(permutations, n)


def nanmean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """`np.nanmean` without its warning where everything is NaN."""
    count = np.isfinite(values).sum(axis)
    return np.divide(np.nansum(values, axis), count, out=np.full(count.shape, np.nan), where=count > 0)


def _root_ratio(numerator: ArrayLike, denominator: ArrayLike, where: ArrayLike) -> np.ndarray:
    out = np.full(np.shape(numerator), np.nan)
    return np.asarray(np.sqrt(np.divide(numerator, denominator, out=out, where=np.asarray(where))))
