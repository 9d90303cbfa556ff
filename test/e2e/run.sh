#!/usr/bin/env bash
# Makes the images and runs the end-to-end tests; started by test/services.sh, which provides the engine.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${DOCKER_HOST:?run this with test/services.sh}" "${HITOKU_E2E_BRIDGE:?}"
cache=${HITOKU_TEST_CACHE:-$HOME/.cache/hitoku-test}
./test/e2e/images.sh "$cache" flask nginx postgres node java scripts busybox
work=$(mktemp -d /tmp/hitoku-e2e.XXXXXX)
trap 'rm -rf "$work"' EXIT
# The commands run under the race detector; the guest is static and cannot.
CGO_ENABLED=1 go build -race -o "$work/hitoku" ./cmd/hitoku
cp bin/hitoku-init bin/hitoku-hello "$work/"
export HITOKU_E2E_IMAGES=$cache HITOKU_BIN=$PWD/bin HITOKU_RACE_BIN=$work GORACE="halt_on_error=1 exitcode=66"
HITOKU_GETH=$(./test/e2e/geth.sh "$cache")
export HITOKU_GETH
(cd devchain && go test -count=1 ./...)
go test -tags e2e -count=1 -timeout 10m -run TestReal ./internal/ledger/order/ethereum
go test -tags e2e -count=1 -timeout 25m ./test/e2e/... "$@"
