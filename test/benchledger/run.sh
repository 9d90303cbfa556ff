#!/usr/bin/env bash
# The ledger's benchmarks, each compared within one run. Arguments go to test/benchledger (see its --help).
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ ! -x bin/hitoku-devchain ]; then
	echo "building bin/hitoku-devchain"
	(cd devchain && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../bin/hitoku-devchain .)
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/benchledger" ./test/benchledger
echo "machine: $(nproc) cores, $(awk -F': ' '/model name/{print $2; exit}' /proc/cpuinfo), $(uname -r), $(go version | cut -d' ' -f3), load $(cut -d' ' -f1-3 /proc/loadavg)"
"$work/benchledger" -bin bin "$@"
