#!/usr/bin/env bash
# Builds capi/examples/out_of_tree_plugin, copied away from the tree, on an installed okapi alone, and uses both of
# its schemes from the installed command.
#
#   out_of_tree_plugin.sh EXAMPLE PREFIX WORK CMAKE C_COMPILER CXX_COMPILER MODEL PYTHON
set -euo pipefail
example=$1 prefix=$2 work=$3 cmake=$4 c_compiler=$5 cxx_compiler=$6 model=$7 python=$8

rm -rf "$work"
mkdir -p "$work"
cp -r "$example" "$work/source"
log=$work/log
{
  "$cmake" -S "$work/source" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$c_compiler" -DCMAKE_CXX_COMPILER="$cxx_compiler" &&
    "$cmake" --build "$work/build"
} >"$log" 2>&1 || { cat "$log"; exit 1; }

# A plugin links nothing of okapi.
for plugin in step stretch; do
  if readelf -d "$work/build/$plugin.so" | grep NEEDED | grep -i okapi; then
    echo "$plugin.so links okapi" >&2
    exit 1
  fi
  "$prefix/bin/okapi" plugins check "$work/build/$plugin.so"
done

export OKAPI_PLUGIN_PATH=$work/build
for spec in step:scale=4,turns=1 stretch:scale=4; do
  "$prefix/bin/okapi" rope explain "$spec" --model "$model" --json >"$work/${spec%%:*}.json"
done
"$python" - "$work" "$model/config.json" <<'CHECK'
"""The tables that okapi made of the two schemes, against their definitions."""
import json, math, sys
work, config = sys.argv[1], json.load(open(sys.argv[2]))
head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
base = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
trained = config["max_position_embeddings"]
plain = [base ** (-2 * pair / head_dim) for pair in range(head_dim // 2)]
expected = {
    "stretch": [freq / 4 for freq in plain],
    "step": [freq / 4 if trained * freq / (2 * math.pi) < 1 else freq for freq in plain],
}
for scheme, wanted in expected.items():
    pairs = json.load(open(f"{work}/{scheme}.json"))["pairs"]
    found = [pair["inv_freq"] for pair in pairs]
    assert len(found) == len(wanted), (scheme, len(found), len(wanted))
    for pair, (a, b) in enumerate(zip(found, wanted)):
        assert abs(a - b) <= 1e-12 * b, (scheme, pair, a, b)
assert expected["step"] != plain, "the model has no slow pair: the test shows nothing"
print("both schemes give the tables they define")
CHECK
