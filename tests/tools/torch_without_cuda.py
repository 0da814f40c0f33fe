"""Imports PyPI's torch on a machine without its CUDA packages: importing this module first makes `import torch` work.

PyPI's wheel of torch for Linux is linked against a dozen NVIDIA libraries, some gigabytes of packages that a computation on
the CPU never calls. Where torch can't be imported without them, this module makes empty libraries of the same names that
define the symbols which torch's libraries want, each a function that fails, and loads them. Needs a C compiler and readelf.
Where torch can be imported nothing is made: it finds its libraries where no name alone leads to.
"""

import collections
import ctypes
import importlib.util
import os
import re
import subprocess
import sys
import tempfile

NVIDIA = re.compile(r"^lib(cu|nv|nccl)")


def readelf(option, path):
    return subprocess.run(["readelf", option, "-W", path], capture_output=True, text=True, check=True).stdout.splitlines()


def wanted(path):
    """Libraries that one library needs, versioned symbols by library and version, unversioned ones, and what it defines."""
    needed = {m[1] for line in readelf("-d", path) if (m := re.search(r"NEEDED.*\[(.*)\]", line))}
    versions, library = {}, None
    for line in readelf("-V", path):
        if m := re.search(r"File: (\S+)", line):
            library = m[1]
        if library and (m := re.search(r"Name: (\S+).*Version: (\d+)", line)):
            versions[int(m[2])] = (library, m[1])
    versioned, plain, defined = collections.defaultdict(set), set(), set()
    for line in readelf("--dyn-syms", path):
        words = line.split()
        if len(words) < 8 or not words[0].rstrip(":").isdigit():
            continue
        name = words[7].split("@")[0]
        if words[6] != "UND":
            defined.add(name)
        elif "@" in words[7]:
            versioned[versions[int(words[8].strip("()"))]].add(name)
        elif words[4] != "WEAK":
            plain.add(name)
    return needed, versioned, plain, defined


def make_library(folder, name, versions, plain):
    """An empty library: every symbol returns cudaErrorNoDevice."""
    symbols = sorted(set().union(plain, *versions.values()))
    source, script, path = (os.path.join(folder, name + end) for end in (".s", ".map", ""))
    with open(source, "w", encoding="ascii") as f:
        f.write(".text\n" + "".join(f".globl {s}\n.type {s},@function\n{s}:\n" for s in symbols))
        f.write('mov $100,%eax\nret\n.section .note.GNU-stack,"",@progbits\n')
    with open(script, "w", encoding="ascii") as f:
        for version, names in sorted(versions.items()):
            f.write(f"{version} {{ global: {' '.join(n + ';' for n in sorted(names))} }};\n")
    options = [f"-Wl,--version-script={script}"] if versions else []
    subprocess.run(["cc", "-shared", "-nostdlib", f"-Wl,-soname,{name}", "-o", path, source, *options], check=True)
    return path


def load_libraries():
    spec = importlib.util.find_spec("torch")
    if spec is None:
        raise ImportError("torch is not installed")
    folder = os.path.join(os.path.dirname(spec.origin), "lib")
    present = {name for name in os.listdir(folder) if ".so" in name}
    needed, versioned, plain, defined = set(), collections.defaultdict(dict), set(), set()
    for name in sorted(present):
        n, v, p, d = wanted(os.path.join(folder, name))
        needed |= n
        plain |= p
        defined |= d
        for (library, version), symbols in v.items():
            versioned[library].setdefault(version, set()).update(symbols)
    missing = []
    for name in sorted(n for n in needed - present if NVIDIA.match(n)):
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    loose = {s for s in plain - defined if re.match(r"^(cu|nccl|nv|__cuda)", s)}
    with tempfile.TemporaryDirectory() as work:
        for i, name in enumerate(missing):
            ctypes.CDLL(make_library(work, name, versioned.get(name, {}), loose if i == 0 else set()), ctypes.RTLD_GLOBAL)


# In a process of its own: torch can't be imported again after an import that failed, and libraries that are loaded here by their
# names would be taken for torch's own.
if "torch" not in sys.modules and subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode != 0:
    load_libraries()
