"""The same quantities without training: exact theory of linear networks with d -> infinity inputs.

The setting: a teacher y = beta.x + noise with x ~ N(0, I_d) and SNR = |beta|^2 / Var[noise], and linear students
trained on n = alpha d samples, which differ by their noise. A student is a spectral filter of least squares; `linear`
gives the overlap rho of two students and their generalization error, `alignment` what rho means for the measures of
alignment.

The second step speaks of the balanced minimum, W1^T W1 = (W^T W)^(1/2). The function a two-layer network computes does
not determine its hidden layer: (W1, W2) -> (C W1, W2 C^-1) leaves the former as it is and moves the distances in the
latter. A trained network is balanced only from a very small initialization; from the usual one its hidden layer keeps
much of the initial weights, and is more alike (or less) than the overlap says. The overlap of the end-to-end maps
follows the theory in every case.
"""

from jaxalign.theory.alignment import (
    conditional_copula_entropy,
    copula_density,
    information_imbalance,
    linear_cka,
)
from jaxalign.theory.filters import (
    GradientDescent,
    GradientFlow,
    MinNorm,
    Ridge,
    SpectralFilter,
    TunedRidge,
)
from jaxalign.theory.linear import (
    Moments,
    WeakestAlignment,
    generalization_error,
    moments,
    overlap,
    weakest_alignment,
)
from jaxalign.theory.spectrum import Spectrum, marchenko_pastur

__all__ = [
    "GradientDescent",
    "GradientFlow",
    "MinNorm",
    "Moments",
    "Ridge",
    "SpectralFilter",
    "Spectrum",
    "TunedRidge",
    "WeakestAlignment",
    "conditional_copula_entropy",
    "copula_density",
    "generalization_error",
    "information_imbalance",
    "linear_cka",
    "marchenko_pastur",
    "moments",
    "overlap",
    "weakest_alignment",
]
