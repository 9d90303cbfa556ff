#!/usr/bin/env bash
# go test, and nothing may be skipped: a test that skips fails the run. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
set +e
go test -v "$@" 2>&1 | tee "$log" | grep --line-buffered -E '^(ok|FAIL|panic:|--- FAIL)|DATA RACE'
status=${PIPESTATUS[0]}
set -e
# Tests on real evidence and on the vectors of others run by `make test-evidence`, where those are.
skipped=$(awk '/^=== (RUN|CONT|NAME)/ { t = $3 }
	/no real (evidence|SIGSTRUCTs)|no vectors of Gramine|evidence is flipped byte by byte only/ { excused[t] = 1 }
	/^ *--- SKIP/ { if (!($3 in excused)) print }' "$log")
if [ $status -ne 0 ]; then
	grep -E -B30 '^ *--- FAIL|DATA RACE' "$log" | sed -n 1,300p
	exit $status
fi
if grep -qE -- '--- SKIP' <<<"$skipped"; then
	echo "skipped, although nothing may be:"
	echo "$skipped"
	exit 1
fi
