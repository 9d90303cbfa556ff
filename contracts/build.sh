#!/usr/bin/env bash
# Compiles the contracts into contracts/out, or with --check compares with what is there.
# The compiler comes from npm once, by the versions and hashes in package-lock.json; compiling needs no network.
set -euo pipefail
cd "$(dirname "$0")"
command -v npm >/dev/null || { echo "contracts: npm is missing: run test/setup.sh or install Node.js"; exit 1; }
cache=${HITOKU_TEST_CACHE:-$HOME/.cache/hitoku-test}/solc-$(sha256sum package-lock.json | cut -c1-16)
if [ ! -d "$cache/node_modules/solc" ]; then
	rm -rf "$cache.new" && mkdir -p "$cache.new"
	cp package.json package-lock.json "$cache.new/"
	(cd "$cache.new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
	mv -T "$cache.new" "$cache"
fi
out=out
if [ "${1:-}" = --check ]; then
	out=$(mktemp -d)
	trap 'rm -rf "$out"' EXIT
fi
NODE_PATH=$cache/node_modules node compile.js "$out"
if [ "${1:-}" = --check ]; then
	diff -r out "$out" >/dev/null || { echo "contracts: contracts/out is not what the sources compile to; run contracts/build.sh and commit it"; exit 1; }
	echo "contracts: contracts/out is what the sources compile to"
fi
