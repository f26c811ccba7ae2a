#!/bin/sh
# agent-size.sh AGENT - the agent, as it is in a guest, is static and under 300 KB.
# Without symbols and debug information: cor-image cuts them off.
set -eu

limit=307200
agent=$1

command -v strip >/dev/null || {
	echo "skipped: no strip (package binutils)"
	exit 77
}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
strip --strip-all -o "$out" "$agent"
size=$(stat -c %s "$out")
echo "agent: $size bytes, limit $limit"
[ "$size" -lt "$limit" ]
! readelf -lW "$out" | grep -q INTERP || {
	echo "agent needs a loader: it must be static"
	exit 1
}
