#!/usr/bin/env bash
# Benchmarks, each compared within one run. Arguments go to test/bench (see its --help).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/bench" ./test/bench
echo "machine: $(nproc) cores, $(awk -F': ' '/model name/{print $2; exit}' /proc/cpuinfo), $(uname -r), $(go version | cut -d' ' -f3)"
"$work/bench" -bin bin "$@"
echo
echo "hashing of files by the guest, beside plain SHA-256 (go test -bench):"
go test -run '^$' -bench . -benchtime 2s ./internal/guest | grep -E '^Benchmark|ok' || true
