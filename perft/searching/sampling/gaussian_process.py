"""Regression by a Gaussian process over the parameters of a search space, for a few hundred trials.

The kernel is `scale * exp(-sum_d weight_d * distance_d)`: of numbers, the squared difference of
their places in their ranges, which makes it the squared exponential kernel with a length scale per
parameter; of choices, whether they differ. A parameter that one of two trials lacks is at distance
1. Source: C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning (2006),
algorithm 2.1; for choices, F. Hutter, PhD thesis (2009), section 11.2.

The hyperparameters have the greatest posterior density on a grid whose values double. A grid, and
no gradient: rounding, which differs between machines, does not move the choice.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_WEIGHT = 1.0  # prior median of the weights of numbers
_WEIGHT_OF_CHOICE = 0.25
_NOISE = 1 / 32  # prior median of the variance of the noise, of values with variance 1
_JITTER = 1e-6
_STEPS = 4  # doublings in either direction from the prior medians
_PASSES = 3


@dataclass(frozen=True)
class Columns:
    """What the columns of rows of parameters are.

    Attributes:
        is_choice: shape (columns): whether a column holds a choice; else a number in [0, 1].
    """

    is_choice: npt.NDArray[np.bool_]

    def distances(self, some: Array, others: Array) -> Array:
        """Of all pairs of rows, by column.

        Args:
            some: shape (n, columns); NaN where a trial lacks the parameter.
            others: shape (m, columns), likewise.

        Returns:
            Shape (columns, n, m).
        """
        a, b = some.T[:, :, None], others.T[:, None, :]
        found = np.where(self.is_choice[:, None, None], a != b, (a - b) ** 2)
        lacks = np.isnan(a).astype(np.float64) - np.isnan(b)
        return np.where(np.isnan(a) | np.isnan(b), abs(lacks), found)


class GaussianProcess:
    """A Gaussian process; its hyperparameters are the starting point of the next one's.

    Args:
        columns: what the columns of its rows are.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        weights = np.where(columns.is_choice, _WEIGHT_OF_CHOICE, _WEIGHT)
        self._prior = np.log2(np.concatenate([weights, [1.0, _NOISE]]))
        self._theta = self._prior.copy()  # log2 of the weights, the scale and the noise

    def tune(self, rows: Array, values: Array, variances: Array) -> None:
        """Chooses the hyperparameters; arguments as `condition`'s."""
        distances = self._columns.distances(rows, rows)
        values, variances, _, _ = _standardised(values, variances)
        best = self._density(self._theta, distances, values, variances)
        for _ in range(_PASSES):
            before = best
            for index in range(len(self._theta)):
                for step in (-1.0, 1.0):
                    theta = self._theta.copy()
                    theta[index] += step
                    if abs(theta[index] - self._prior[index]) > _STEPS:
                        continue
                    density = self._density(theta, distances, values, variances)
                    if density > best + 1e-6:
                        self._theta, best = theta, density
            if best == before:
                break

    def condition(self, rows: Array, values: Array, variances: Array) -> None:
        """Takes in observations, in place of earlier ones.

        Args:
            rows: shape (n, columns).
            values: shape (n).
            variances: shape (n): of each value, beside the noise that all have.
        """
        values, variances, self._mean, self._scale = _standardised(values, variances)
        self._rows = rows
        kernel = self._kernel(self._theta, self._columns.distances(rows, rows))
        kernel[np.diag_indices(len(rows))] += 2.0 ** self._theta[-1] + _JITTER + variances
        self._inverse = np.linalg.inv(np.linalg.cholesky(kernel))
        self._solved = self._inverse.T @ (self._inverse @ values)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Means and standard deviations, without noise; rows of shape (m, columns), both (m)."""
        kernel = self._kernel(self._theta, self._columns.distances(rows, self._rows))
        explained = ((self._inverse @ kernel.T) ** 2).sum(axis=0)
        variance = np.maximum(2.0 ** self._theta[-2] - explained, _JITTER)
        return kernel @ self._solved * self._scale + self._mean, np.sqrt(variance) * self._scale

    def _density(self, theta: Array, distances: Array, values: Array, variances: Array) -> float:
        """Logarithm of the posterior density of hyperparameters, but for a constant."""
        kernel = self._kernel(theta, distances)
        kernel[np.diag_indices(len(values))] += 2.0 ** theta[-1] + _JITTER + variances
        root = np.linalg.cholesky(kernel)
        solved = np.linalg.solve(root, values)
        prior = 0.5 * (((theta - self._prior) * np.log(2.0)) ** 2).sum()  # log-normal, of sigma 1
        return float(-0.5 * solved @ solved - np.log(np.diag(root)).sum() - prior)

    @staticmethod
    def _kernel(theta: Array, distances: Array) -> Array:
        weighed = np.tensordot(2.0 ** theta[:-2], distances, 1)
        return np.asarray(2.0 ** theta[-2] * np.exp(-weighed))


def _standardised(values: Array, variances: Array) -> tuple[Array, Array, float, float]:
    mean, scale = float(values.mean()), max(float(values.std()), 1e-9)
    return (values - mean) / scale, variances / scale**2, mean, scale
