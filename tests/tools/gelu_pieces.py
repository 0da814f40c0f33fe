"""Makes the table of cpu/kernels/vector_gelu.h: Phi, the normal distribution, as polynomials of degree 5.

    gelu_pieces.py

A piece k has Phi(x) for u = 2.6 x - k of [-1/2, 1/2], fitted at 200 Chebyshev nodes by least squares that are reweighted
(Lawson's way) until the greatest error is as small as it gets, in units of what GELU may be off: 2e-8 of x Phi(x), or
2^-24 of Phi(x) where that is more. Coefficients are rounded to float32. Needs numpy; the last bits may differ with its
linear algebra.
"""

import math

import numpy

SCALE = float(numpy.float32(2.6))
DEGREE = 5
FIRST, LAST = -16, 15
NODES, ROUNDS = 200, 60


def phi(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def piece(k):
    if k == FIRST:
        return numpy.zeros(DEGREE + 1, numpy.float32)
    if k == LAST:
        return numpy.eye(1, DEGREE + 1, dtype=numpy.float32)[0]
    u = 0.5 * numpy.cos((numpy.arange(NODES) + 0.5) * math.pi / NODES)
    x = (u + k) / SCALE
    values = numpy.array([phi(v) for v in x])
    allowed = numpy.array([max(2e-8 / max(abs(v), 1e-3), 6e-8 * phi(v)) for v in x])
    powers = numpy.vander(u, DEGREE + 1, increasing=True)
    weights = numpy.ones(NODES)
    for _ in range(ROUNDS):
        by = numpy.sqrt(weights) / allowed
        coefficients = numpy.linalg.lstsq(powers * by[:, None], values * by, rcond=None)[0]
        error = numpy.abs(powers @ coefficients - values) / allowed
        weights *= error / error.max() + 1e-9
        weights /= weights.sum()
    return coefficients.astype(numpy.float32)


def literal(value):
    value = float(value)
    if value == int(value):
        return f"{value:.1f}F"
    digits, exponent = value.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}F"


def main():
    table = numpy.zeros((DEGREE + 1, LAST - FIRST + 1), numpy.float32)
    for k in range(FIRST, LAST + 1):
        table[:, k % (LAST - FIRST + 1)] = piece(k)
    for row in table:
        numbers = [literal(value) for value in row]
        lines = [", ".join(numbers[i : i + 6]) for i in range(0, len(numbers), 6)]
        print("    {" + ",\n     ".join(lines) + "},")


if __name__ == "__main__":
    main()
