#!/usr/bin/env bash
# Builds a program on an installed okapi, the two ways that build systems find it, and runs it.
#
#   consumer.sh cmake|pkg-config SOURCE PREFIX WORK CMAKE C_COMPILER
set -euo pipefail
way=$1 source=$2 prefix=$3 work=$4 cmake=$5 compiler=$6

rm -rf "$work"
mkdir -p "$work"
libdir=$(dirname "$(find "$prefix" -name 'libokapi.so' | head -n 1)")
case "$way" in
  cmake)
    "$cmake" -S "$source" -B "$work" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" >"$work.log" ||
      { cat "$work.log"; exit 1; }
    "$cmake" --build "$work" >"$work.log" || { cat "$work.log"; exit 1; }
    ;;
  pkg-config)
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    pkg-config --exists --print-errors okapi
    mapfile -t flags < <(pkg-config --cflags --libs okapi | xargs printf '%s\n')  # blanks in paths are quoted
    "$compiler" -std=c99 "$source/consumer.c" -o "$work/consumer" "${flags[@]}"
    ;;
esac

printed=$(LD_LIBRARY_PATH=$libdir "$work/consumer")
echo "$printed"
[[ $printed == "okapi "*'"backend"'*cpu* ]] || { echo "consumer: that is not what was expected" >&2; exit 1; }
