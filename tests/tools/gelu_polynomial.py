"""Makes the polynomial of cuda/ops/activation.h: q(t) of degree 8 with Phi(-t) = 2^q(t), Phi the normal distribution.

    gelu_polynomial.py

q(0) is -1, so that GELU is x / 2 next to 0. The others are fitted on [0, 6] at 800 Chebyshev nodes by least squares that
are reweighted (Lawson's way) until the greatest error of Phi is as small as it gets. Coefficients are rounded to float32,
and printed from t^8 down to t, with the errors of both. Needs numpy; the last bits may differ with its linear algebra.
"""

import math

import numpy

DEGREE = 8
LAST = 6.0
NODES, ROUNDS = 800, 300


def phi(t):
    return 0.5 * math.erfc(t / math.sqrt(2))


def fitted():
    t = LAST / 2 * (1 - numpy.cos((numpy.arange(NODES) + 0.5) * math.pi / NODES))
    expected = numpy.array([phi(v) for v in t])
    rest = numpy.log2(expected) + 1
    allowed = 1 / (math.log(2) * expected)
    powers = t[:, None] ** numpy.arange(1, DEGREE + 1)
    weights = numpy.ones(NODES)
    for _ in range(ROUNDS):
        by = numpy.sqrt(weights) / allowed
        coefficients = numpy.linalg.lstsq(powers * by[:, None], rest * by, rcond=None)[0]
        error = numpy.abs(powers @ coefficients - rest) / allowed
        weights *= error / error.max() + 1e-9
        weights /= weights.sum()
    return coefficients


def error_of(coefficients):
    """The greatest of Phi, in double precision."""
    t = numpy.linspace(0, 2 * LAST, 100001)
    q = numpy.polyval([*coefficients[::-1].astype(float), -1.0], t)
    return numpy.abs(2.0**q - numpy.array([phi(v) for v in t])).max()


def literal(value):
    digits, exponent = float(value).hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}F"


def main():
    exact = fitted()
    rounded = exact.astype(numpy.float32)
    for coefficient in rounded[::-1]:
        print(literal(coefficient))
    print(f"Phi is off by {error_of(exact):.2g}, and by {error_of(rounded):.2g} with rounded coefficients")


if __name__ == "__main__":
    main()
