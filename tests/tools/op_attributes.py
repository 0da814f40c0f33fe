#!/usr/bin/env python3
"""Writes core/graph/op_attributes.def: the attributes of every operator of core/graph/ops.def, from ONNX Runtime's schemas.

    pip install -r tests/tools/requirements.txt
    python tests/tools/op_attributes.py              # writes the file
    python tests/tools/op_attributes.py --check      # says whether it is as it would be written; exits with 1 when it is not
"""

import argparse
import os
import re
import sys

from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KINDS = {1: "FLOAT", 2: "INT", 3: "STRING", 4: "TENSOR", 5: "GRAPH", 6: "FLOATS", 7: "INTS", 8: "STRINGS"}
FIRST_OPSET, LAST_OPSET = 9, 23  # what onnx_loader reads of ai.onnx
HEADER = """/*
 * The attributes that operators have, from ONNX Runtime's schemas by tests/tools/op_attributes.py: not edited by hand.
 *
 *   BERT_OP_ATTRIBUTE(op, name, kind, since, until, required)
 *
 * op: a row of ops.def. kind: a bert_attribute_kind without its prefix. since..until: the opsets of the domain that have it so.
 */
"""


def rows_of_table():
    """(id, domain, name) of each operator that a file may hold, in order."""
    with open(os.path.join(ROOT, "core", "graph", "ops.def")) as file:
        text = file.read()
    for row in re.finditer(r'^BERT_OP\((\w+), ("[^"]*"|\w+), "(\w+)"', text, re.M):
        if row.group(2).startswith('"'):
            yield row.group(1), row.group(2).strip('"'), row.group(3)


def versions(schemas, domain):
    """(since, until, schema) for each version of an operator that matters."""
    schemas = sorted(schemas, key=lambda s: s.since_version)
    first, last = (FIRST_OPSET, LAST_OPSET) if domain == "" else (1, 1)
    for i, schema in enumerate(schemas):
        until = schemas[i + 1].since_version - 1 if i + 1 < len(schemas) else last
        if until >= first and schema.since_version <= last:
            yield max(schema.since_version, first), min(until, last), schema


def attributes(schemas, domain):
    """Rows (name, kind, since, until, required), versions that agree joined."""
    found = {}
    for since, until, schema in versions(schemas, domain):
        for name, attribute in schema.attributes.items():
            form = (KINDS.get(int(attribute.type.value if hasattr(attribute.type, "value") else attribute.type)), attribute.required)
            spans = found.setdefault(name, [])
            if spans and spans[-1][2] == form and spans[-1][1] == since - 1:
                spans[-1][1] = until
            else:
                spans.append([since, until, form])
    for name in sorted(found):
        for since, until, (kind, required) in found[name]:
            if kind:
                yield name, kind, since, until, required


def generate():
    schemas = {}
    for schema in get_all_operator_schema():
        domain = "" if schema.domain == "ai.onnx" else schema.domain
        schemas.setdefault((domain, schema.name), []).append(schema)
    lines = [HEADER]
    for op, domain, name in rows_of_table():
        if (domain, name) not in schemas:
            sys.exit(f"ONNX Runtime has no {name} of {domain or 'ai.onnx'}")
        for attribute, kind, since, until, required in attributes(schemas[domain, name], domain):
            lines.append(f'BERT_OP_ATTRIBUTE({op}, "{attribute}", {kind}, {since}, {until}, {str(bool(required)).lower()})\n')
    return "".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    path = os.path.join(ROOT, "core", "graph", "op_attributes.def")
    text = generate()
    if not a.check:
        with open(path, "w") as file:
            file.write(text)
        return
    with open(path) as file:
        same = file.read() == text
    print(f"{path} {'is as ONNX Runtime has it' if same else 'differs from what ONNX Runtime has: write it again'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
