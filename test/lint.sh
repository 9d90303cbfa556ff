#!/usr/bin/env bash
# Formatting, vet, static analysis, module files, size of files, sameness of the guest.
set -euo pipefail
cd "$(dirname "$0")/.."
fail=0
say() { echo "lint: $*"; fail=1; }

files=$(git ls-files '*.go')
unformatted=$(gofmt -l $files)
[ -z "$unformatted" ] || say "not formatted: $unformatted"
go vet ./... || say "go vet found something"
go vet -tags e2e ./test/... ./internal/ledger/order/... || say "go vet found something in the end-to-end tests"
(cd bench && go vet ./... && go mod tidy -diff >/dev/null) || say "bench/, the module of benchmarks beside peers, does not build or is not tidy"
(cd devchain && go vet ./... && go mod tidy -diff >/dev/null) || say "devchain/, the module of the development chain, does not build or is not tidy"
./contracts/build.sh --check >/dev/null || say "contracts/out is not what the contracts compile to: run contracts/build.sh"
cp go.mod go.sum "${tmp:=$(mktemp -d)}"
go mod tidy -diff >/dev/null || say "go mod tidy would change go.mod or go.sum"
for f in $files; do
	n=$(wc -l <"$f")
	case $f in *_test.go) ;; *) [ "$n" -le 450 ] || say "$f has $n lines, at most 450 wanted" ;; esac
done
if [ -d tools ]; then
	(cd tools && go build -o "$tmp/staticcheck" honnef.co/go/tools/cmd/staticcheck) && "$tmp/staticcheck" ./... || say "staticcheck found something"
fi
# Two builds of a measured program from two folders must be the same bytes.
build() { (cd "$1" && CGO_ENABLED=0 GOAMD64=v1 GOFLAGS= go build -trimpath -buildvcs=false -ldflags "-s -w -buildid=" -o "$2" "./cmd/$3"); }
mkdir "$tmp/copy" && git ls-files -z | xargs -0 cp --parents -t "$tmp/copy"
build . "$tmp/node" hitoku-ledger && build "$tmp/copy" "$tmp/b" hitoku-ledger
cmp "$tmp/node" "$tmp/b" || say "the ledger's node differs between two checkouts"
build . "$tmp/a" hitoku-init && build "$tmp/copy" "$tmp/b" hitoku-init
cmp "$tmp/a" "$tmp/b" || say "the guest differs between two checkouts"
size=$(stat -c %s "$tmp/a")
[ "$size" -lt $((12 << 20)) ] || say "the guest has $size bytes, below 12 MiB wanted"
rm -rf "$tmp"
[ $fail -eq 0 ] && echo "lint: clean (guest: $size bytes)"
exit $fail
