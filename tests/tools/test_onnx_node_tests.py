#!/usr/bin/env python3
"""That onnx_node_tests.py fails when it should: a stand-in for bertc says of each case what the test wants it to say."""

import importlib.util
import os
import stat
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "onnx_node_tests.py")
PATTERN = "test_abs*"  # one test, test_abs
STAND_IN = """#!{python}
import os, sys
provider = sys.argv[sys.argv.index("--provider") + 1]
for path in sys.argv[sys.argv.index("--provider") + 2 :]:
    assert os.path.exists(os.path.join(path, "model.onnx")) and os.path.isdir(os.path.join(path, "test_data_set_0"))
    said = {said!r}[provider]
    if said == "crash":
        os.abort()
    print(("pass" if said == "fault" else said) + "  " + os.path.basename(path) + "  the sentence")
sys.stdout.flush()
if said == "fault":
    os._exit(70)
"""


class NodeTests(unittest.TestCase):
    def run_tool(self, listed, reference="pass", cpu="pass", *more):
        with tempfile.TemporaryDirectory() as folder:
            bertc = os.path.join(folder, "bertc")
            names = os.path.join(folder, "list.txt")
            with open(bertc, "w", encoding="utf-8") as out:
                out.write(STAND_IN.format(python=sys.executable, said={"reference": reference, "cpu": cpu}))
            os.chmod(bertc, os.stat(bertc).st_mode | stat.S_IXUSR)
            with open(names, "w", encoding="utf-8") as out:
                out.write(listed)
            run = subprocess.run([sys.executable, TOOL, bertc, "--list", names, *(more or [PATTERN])],
                                 capture_output=True, text=True, check=False)
            with open(names, encoding="utf-8") as back:
                return run.returncode, run.stdout + run.stderr, back.read()

    def test_what_is_as_listed_is_well(self):
        self.assertEqual(self.run_tool("test_abs pass\n")[0], 0)
        self.assertEqual(self.run_tool("test_abs out-of-scope: no Abs\n", "skip", "fail")[0], 0)

    def test_one_provider_that_fails_is_enough(self):
        for verdict in ("fail", "skip", "crash"):
            status, text, _ = self.run_tool("test_abs pass\n", "pass", verdict)
            self.assertEqual(status, 1, text)
            self.assertIn(f"test_abs: {verdict} with cpu", text)

    def test_a_fault_that_the_end_tells_of_is_a_crash(self):
        status, text, _ = self.run_tool("test_abs pass\n", "pass", "fault")
        self.assertEqual(status, 1, text)
        self.assertIn("test_abs: crash with cpu: exit 70", text)
        listed = "test_abs pass\ntest_acos out-of-scope: no Acos\n"
        self.assertIn("test_acos: crash with cpu", self.run_tool(listed, "pass", "fault", "test_abs", "test_acos")[1])

    def test_a_crash_is_no_way_to_refuse(self):
        self.assertEqual(self.run_tool("test_abs out-of-scope: no Abs\n", "skip", "crash")[0], 1)

    def test_what_passes_unexpectedly_has_to_be_listed(self):
        status, text, _ = self.run_tool("test_abs out-of-scope: no Abs\n", "skip", "pass")
        self.assertEqual(status, 1)
        self.assertIn("listed as out of scope", text)

    def test_the_list_has_each_test_once_and_no_other(self):
        self.assertIn("not in the list", self.run_tool("")[1])
        self.assertIn("not in onnx", self.run_tool("test_abs pass\ntest_of_no_release pass\n")[1])
        for listed in ("test_abs pass\ntest_abs pass\n", "test_abs out-of-scope:\n", "test_abs\n"):
            self.assertNotEqual(self.run_tool(listed)[0], 0)
        self.assertEqual(self.run_tool("test_abs pass\n", "pass", "pass", "no_such_test")[0], 1)

    def test_an_update_never_forgives_what_had_to_pass(self):
        before = "test_abs pass\ntest_acos out-of-scope: an own reason\n"
        status, _, after = self.run_tool(before, "fail", "fail", "--update")
        self.assertEqual(status, 1)
        self.assertIn("test_abs pass\n", after)
        self.assertIn("test_acos out-of-scope: an own reason\n", after)
        self.assertIn("test_add out-of-scope: the sentence\n", after)
        self.assertIn("test_acos pass\n", self.run_tool(before, "pass", "pass", "--update")[2])


if __name__ == "__main__":
    if importlib.util.find_spec("onnx") is None:
        print("skipped: onnx is not installed (pip install -r tests/tools/requirements.txt)")
        sys.exit(77)
    unittest.main()
