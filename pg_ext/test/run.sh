#!/bin/sh
# All tests of the extension:  PG_CONFIG=/path/to/pg_config test/run.sh
#
# Runs as root (servers then run as user postgres) or as any other user. Every test works on a private copy of the
# server in /tmp. Each part ends with a line 'part: N passed, N failed'; the last line is their sum.
here=$(cd "$(dirname "$0")" && pwd)
export PG_CONFIG="${PG_CONFIG:-pg_config}"
PYTHON="${PYTHON:-/usr/bin/python3}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

part() {
    "$@" 2>&1 | tee -a "$work/out"
}

# the wire format alone, under sanitizers
if ${CC:-cc} -std=c99 -Wall -Wextra -Werror -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
    "$here/frame/frame_test.c" "$here/../src/frame.c" -o "$work/frame_test" && "$work/frame_test"
then echo "frame: 1 passed, 0 failed"
else echo "frame: 0 passed, 1 failed"
fi | tee -a "$work/out"

part "$PYTHON" "$here/regress.py"
part "$PYTHON" "$here/worker/run.py"
for other in "$here"/*/run.py; do
    case "$other" in
        */worker/run.py | */bench_*/run.py) ;;
        *) part "$PYTHON" "$other" ;;
    esac
done

awk '/[0-9]+ passed, [0-9]+ failed/ {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i - 1)
            if ($i ~ /^failed/) failed += $(i - 1)
        }
    }
    END { printf "%d passed, %d failed\n", passed, failed; exit failed > 0 || passed == 0 }' "$work/out"
