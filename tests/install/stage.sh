#!/usr/bin/env bash
# Installs a build, moves the installed tree, and checks that nothing in it points back.
#
#   stage.sh CMAKE BUILD SOURCE STAGE     leaves the moved tree in STAGE/moved
set -euo pipefail
cmake=$1 build=$2 source=$3 stage=$4

rm -rf "$stage"
"$cmake" --install "$build" --prefix "$stage/first" >/dev/null
mv "$stage/first" "$stage/moved"
cd "$stage/moved"

fail() { echo "stage: $*" >&2; exit 1; }

# lib/ may have another name in a distribution's own layout.
libdir=$(dirname "$(find . -name 'libokapi.so' | head -n 1)")
for needed in bin/okapi include/okapi/okapi.h include/okapi/plugin/rope.h include/okapi/plugin/rope.hpp \
  "$libdir/okapi/backends/okapi_backend_cpu.so" "$libdir/okapi/plugins/rope/yarn.so" \
  "$libdir/okapi/plugins/dataset/lines.so" "$libdir/okapi/plugins/task/lines.so" \
  "$libdir/okapi/tokenizers/okapi_tokenizer_sentencepiece.so" "$libdir/lua/5.4/okapi.so" \
  "$libdir/cmake/okapi/okapiConfig.cmake" "$libdir/pkgconfig/okapi.pc"; do
  [ -e "$needed" ] || fail "$needed was not installed"
done

# Loaders look beside the file, never in the build tree; texts name neither tree.
while read -r file; do
  runpath=$(readelf -d "$file" 2>/dev/null | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p')
  for entry in ${runpath//:/ }; do
    case "$entry" in
      \$ORIGIN*) ;;
      *) fail "$file looks for libraries in $entry" ;;
    esac
  done
done < <(find . -type f \( -name '*.so*' -o -path './bin/*' \))
if grep -rIlF -e "$build" -e "$source" . ; then
  fail "the files above name the build or the source tree"
fi
echo "installed $(find . -type f | wc -l) files in $(du -sh . | cut -f1)"
