#!/usr/bin/env bash
# Runs every fuzz target for the time given, two targets at a time.
# usage: fuzz.sh [TIME] [FOLDER]      FOLDER: only targets below it, for example attest
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_TIME=${1:-30s}
folder=${2:-.}

one() { # PACKAGE TARGET
	local log status=0
	log=$(mktemp)
	# Minimising an input that is only interesting would eat the time.
	go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZ_TIME" -fuzzminimizetime 10x -parallel 1 >"$log" 2>&1 || status=$?
	# go test also fails when the time ends in the middle of an input; that is no finding.
	if [ $status -ne 0 ] && grep -q 'context deadline exceeded' "$log" && ! grep -qE 'Failing input|panic|fatal error' "$log"; then
		status=0
	fi
	if [ $status -eq 0 ]; then
		echo "fuzz: $1 $2: $(grep -oE 'execs: [0-9]+' "$log" | tail -1)"
	else
		echo "fuzz: $1 $2 FAILED"
		tail -50 "$log"
	fi
	rm -f "$log"
	return $status
}
export -f one

targets=$(grep -rE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' "$folder" | sed -E 's#^(\./)?(.*)/[^/]+:func (Fuzz[A-Za-z0-9_]+).*#./\2 \3#' | sort)
echo "fuzz: $(wc -l <<<"$targets") targets, $FUZZ_TIME each"
xargs -P 2 -L 1 bash -c 'one "$@"' _ <<<"$targets"
