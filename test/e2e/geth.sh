#!/usr/bin/env bash
# Builds go-ethereum's own node from the module proxy, once, and prints its path. usage: geth.sh CACHE
set -euo pipefail
version=v1.17.8
geth=$1/geth/geth-$version
if [ ! -x "$geth" ]; then
	echo "geth.sh: building geth $version (about four minutes on two cores, once)" >&2
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	(cd "$work" && GOFLAGS= GOBIN=$work CGO_ENABLED=0 go install -trimpath github.com/ethereum/go-ethereum/cmd/geth@$version >&2)
	mkdir -p "$1/geth"
	mv "$work/geth" "$geth"
fi
echo "$geth"
