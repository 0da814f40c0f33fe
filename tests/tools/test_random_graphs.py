#!/usr/bin/env python3
"""Tests of random_graphs.py itself: planted faults are found, its comparators fail where they have to, draws repeat.

    python tests/tools/test_random_graphs.py build/release/libbertc.so

Exits with 77 where the packages of requirements.txt are missing.
"""

import sys
import unittest

try:
    import numpy as np

    from bertc_library import Library
    from random_graphs import Draw, StaticDraw, differ, differ_rms
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

LIBRARY = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "build/release/libbertc.so"


class Comparators(unittest.TestCase):
    def test_one_bad_element_fails(self):
        expected = np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 20)
        for measure in (differ, differ_rms):
            self.assertEqual(measure(expected, expected), 0)
            for change in (np.nan, np.inf, 3.0):
                got = expected.copy()
                got[1, 7] = change
                self.assertGreater(measure(got, expected), 0.01)
            zeroed, flipped = expected.copy(), -expected
            zeroed[2] = 0
            self.assertGreater(measure(zeroed, expected), 0.01)
            self.assertGreater(measure(flipped, expected), 0.01)
            self.assertEqual(measure(expected[:2], expected), np.inf)

    def test_nan_in_both_is_the_same(self):
        values = np.array([[1.0, np.nan], [2.0, 3.0]])
        self.assertEqual(differ(values, values), 0)
        self.assertEqual(differ_rms(values, values), 0)


class Draws(unittest.TestCase):
    def test_a_seed_gives_the_same_graph_and_inputs(self):
        for kind in (Draw, StaticDraw):
            first, second = kind(11), kind(11)
            self.assertEqual(first.bert.model, second.bert.model)
            for one, other in zip(first.feeds, second.feeds):
                for name, values in one.items():
                    np.testing.assert_array_equal(values, other[name])

    def test_planted_faults_are_found(self):
        library = Library(LIBRARY)
        for seed in range(25):
            self.assertNotEqual(Draw(seed).judge(library, 1e-4)[0], "FAIL", f"seed {seed}")
            self.assertIn(Draw(seed).judge(library, 1e-4, fault=True)[0], ("FAIL", "refused"), f"seed {seed}")

    def test_planted_scales_are_found(self):
        library, found = Library(LIBRARY), 0
        for seed in range(40):
            self.assertNotEqual(StaticDraw(seed).judge(library, 1e-4)[0], "FAIL", f"seed {seed}")
            found += StaticDraw(seed).judge(library, 1e-4, fault=True)[0] in ("FAIL", "refused")
        self.assertGreaterEqual(found, 36)  # The others change what is as good as constant.

    def test_static_draws_hold_bits_where_they_say_so(self):
        draw = next(draw for draw in map(StaticDraw, range(100)) if any("cpu" in exact for exact in draw.bert.exact.values()))
        name = next(name for name, exact in draw.bert.exact.items() if "cpu" in exact)
        right = [{output: np.ones((2, 3), np.float32) for output in draw.bert.outputs} for _ in draw.feeds]
        wrong = [dict(outputs) for outputs in right]
        wrong[1][name] = np.nextafter(right[1][name], np.float32(2))
        self.assertEqual(draw.hold(right, right, "cpu"), ([], False))
        self.assertEqual(len(draw.hold(wrong, right, "cpu")[0]), 1)
        self.assertEqual(draw.hold(wrong, right, ""), ([], False))


if __name__ == "__main__":
    unittest.main()
