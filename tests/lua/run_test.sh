#!/usr/bin/env bash
# Runs one Lua test in one interpreter, in an empty folder of its own.
#
#   run_test.sh command|stock INTERPRETER MODULE TEST MODEL FOLDER
set -euo pipefail
way=$1 interpreter=$2 module=$3 test=$4 model=$5 folder=$6

rm -rf "$folder"
mkdir -p "$folder"
LUA_PATH="$(dirname "$test")/?.lua;;"
export LUA_PATH
if [ "$way" = stock ]; then
  LUA_CPATH="$(dirname "$module")/?.so" "$interpreter" "$test" "$model" "$folder"
else
  "$interpreter" run "$test" "$model" "$folder"
fi
