#!/usr/bin/env bash
# Starts a Docker Engine of its own and runs the end-to-end tests against it.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "e2e: Docker Engine and debootstrap need root; run as root or install sudo"; exit 1; }
	exec sudo --preserve-env=PATH,HOME,GOPATH,GOCACHE,GOMODCACHE,GOPROXY,GOFLAGS,CI "$0" "$@"
fi
export PATH=$PATH:/usr/sbin:/sbin
cache=${HITOKU_TEST_CACHE:-$HOME/.cache/hitoku-test}
./test/e2e/images.sh "$cache" flask nginx postgres node busybox

work=$(mktemp -d /tmp/hitoku-e2e.XXXXXX)
bridge=hk-e2e$((RANDOM % 1000))
net=10.213.$((RANDOM % 200 + 20))
engine=
stop() {
	[ -z "$engine" ] || { kill "$engine" 2>/dev/null || true; wait "$engine" 2>/dev/null || true; }
	ip link del "$bridge" 2>/dev/null || true
	rm -rf "$work" 2>/dev/null || true
}
trap stop EXIT
ip link add name "$bridge" type bridge
ip addr add "$net.1/24" dev "$bridge"
ip link set "$bridge" up
dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" -H "unix://$work/docker.sock" \
	--bridge "$bridge" --iptables=false --ip6tables=false >"$work/dockerd.log" 2>&1 &
engine=$!
for _ in $(seq 100); do
	docker -H "unix://$work/docker.sock" version >/dev/null 2>&1 && break
	kill -0 "$engine" 2>/dev/null || { echo "e2e: dockerd ended:"; tail -20 "$work/dockerd.log"; exit 1; }
	sleep 0.2
done
echo "e2e: Docker Engine $(docker -H "unix://$work/docker.sock" version --format '{{.Server.Version}}') at $work/docker.sock"
export DOCKER_HOST=unix://$work/docker.sock HITOKU_E2E_BRIDGE=$net.1 HITOKU_E2E_IMAGES=$cache
# The commands run under the race detector; the guest is static and cannot.
mkdir "$work/bin"
CGO_ENABLED=1 go build -race -o "$work/bin/hitoku" ./cmd/hitoku
cp bin/hitoku-init bin/hitoku-hello "$work/bin/"
export HITOKU_BIN=$PWD/bin HITOKU_RACE_BIN=$work/bin GORACE="halt_on_error=1 exitcode=66"
go test -tags e2e -count=1 -timeout 25m ./test/e2e/... ./internal/image/... "$@"
