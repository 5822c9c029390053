"""The same quantities without training: exact theory of linear networks, and of what the measures see of them.

The setting is a teacher y = beta.x + noise with x ~ N(0, I_d) and SNR = |beta|^2 / Var[noise], and linear students
trained on n = alpha d samples, which differ by their noise. A student is a spectral filter f of least squares. Nothing
is derived here; the formulas are those of Umar & Laio 2026, arXiv:2605.26973, and of the sources that each
function names.

**From the data to the overlap** (`overlap`, `generalization_error`, `moments`, `marchenko_pastur`). With mu the
Marchenko-Pastur density of X^T X / n, in the limit d -> infinity at fixed alpha,

    rho = cross / (signal + noise),    signal = ∫ f^2 dmu,    noise = ∫ f^2 / s dmu / (SNR alpha),
    cross = signal for shared inputs, (∫ f dmu)^2 for independent ones,
    error = 1 - 2 ∫ f dmu + ∫ f^2 dmu + noise.

Corrections are O(1/d); with `dim` those of `MinNorm` are included, noise = d / (n - d - 1) / SNR for n > d + 1 and
n / (d - n - 1) / SNR for n < d - 1, and the overlap is then a ratio of expectations. `sample_students` samples the
exact law of overlap and error of two students at finite n and d. Limits of `MinNorm`: for
alpha -> 0 the overlap of students with shared inputs is SNR / (1 + SNR) and the error 1; at alpha = 1 the overlap is
0 and the error infinite; for alpha -> infinity they are 1 and 0. `weakest_alignment` says where the overlap is
smallest: its place depends on the filter, but on the SNR only if the filter does.

**From the overlap to the measures** (`conditional_copula_entropy`, `information_imbalance`, `linear_cka`,
`copula_density`). For r equal outputs the hidden spaces are isotropic Gaussians in r dimensions with correlation rho.
For infinitely many probes

    CCE = -∫ p log p dc,    II = I_{1 - T^2}(r/2, 1/2),  T = rho^2 / sqrt(3 - 2 rho^2),    linear CKA = rho^2,

with p(c) the density of the copula variable; CCE is 0 at rho = 0 and -infinity at rho = 1. With `n_probes`

    CCE_N = -sum_b q_b log(q_b / w_b),    II_N = 2/N E[rank],    rank - 1 ~ Binomial(N - 2, p),

p drawn from its exact law, which is what a measurement at N probes estimates: -log(N - 1) and 2/N at rho = 1. For a
single output the two differ by about 0.002 at N = 1000 unless the networks are almost the same; from r = 5 on the
limit is out of the reach of any measurement.

**Outputs of unequal strength** (`hidden_covariances`, `sampled_measures`). Each singular value b_j of the teacher has
a mode of its own,

    tau_j = signal b_j^2 + noise sigma^2,    Var[mode j] = sqrt(tau_j),    rho_j = cross b_j^2 / tau_j,
    linear CKA = sum_j rho_j^2 tau_j / sum_j tau_j,

and the rank-based measures are sampled from this Gaussian. A hidden layer of k < C units keeps the k strongest modes.
This limit at a fixed number C of outputs is of no use unless C is far below n SNR: corrections to linear CKA are about
C / n, because the noise of C outputs shares the geometry of the n samples. `jaxalign.predict` draws the maps of
students at the size of a sweep from their exact law instead, and compares them by the measures themselves.

**Inputs with a covariance** (`effective_ridge`, `covariance_moments`). For `Ridge` and `MinNorm` and eigenvalues l_i,

    kappa = lam + (kappa / n) sum_i l_i / (l_i + kappa)

gives products, overlaps and error, in the inner product w.Sigma.w', up to O(1/d).

**Which minimum.** The step from the overlap to the measures speaks of the balanced minimum,
W1^T W1 = (W^T W)^(1/2). The function a two-layer network computes does not determine its hidden layer: (W1, W2) ->
(C W1, W2 C^-1) leaves the former as it is and moves the distances in the latter. A trained network is balanced only
from a very small initialization; from the usual one its hidden layer keeps much of the initial weights, and is more
alike (or less) than the overlap says. The overlap of the end-to-end maps follows the theory from any initialization
for n >= d; for n < d only from a small one, since directions that the data do not see keep the initial map.
"""

from jaxalign.theory.alignment import (
    conditional_copula_entropy,
    copula_density,
    information_imbalance,
    linear_cka,
)
from jaxalign.theory.covariance import CovarianceMoments, covariance_moments, effective_ridge
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
from jaxalign.theory.outputs import HiddenModes, SampledMeasures, hidden_covariances, sampled_measures
from jaxalign.theory.spectrum import Spectrum, marchenko_pastur
from jaxalign.theory.students import SampledStudents, sample_students

__all__ = [
    "CovarianceMoments",
    "GradientDescent",
    "GradientFlow",
    "HiddenModes",
    "MinNorm",
    "Moments",
    "Ridge",
    "SampledMeasures",
    "SampledStudents",
    "SpectralFilter",
    "Spectrum",
    "TunedRidge",
    "WeakestAlignment",
    "conditional_copula_entropy",
    "copula_density",
    "covariance_moments",
    "effective_ridge",
    "generalization_error",
    "hidden_covariances",
    "information_imbalance",
    "linear_cka",
    "marchenko_pastur",
    "moments",
    "overlap",
    "sample_students",
    "sampled_measures",
    "weakest_alignment",
]
