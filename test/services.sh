#!/usr/bin/env bash
# Starts a Docker Engine and a PostgreSQL server of its own, runs the command given, and ends them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "test: Docker Engine and debootstrap need root; run as root or install sudo"; exit 1; }
	exec sudo --preserve-env=PATH,HOME,GOPATH,GOCACHE,GOMODCACHE,GOPROXY,GOFLAGS,CI "$0" "$@"
fi
export PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d /tmp/hitoku-test.XXXXXX)
chmod 0755 "$work"
bridge=hk-test$((RANDOM % 1000))
net=10.213.$((RANDOM % 200 + 20))
engine=
postgres=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
stop() {
	[ -z "$engine" ] || { kill "$engine" 2>/dev/null || true; wait "$engine" 2>/dev/null || true; }
	[ ! -e "$work/pg/postmaster.pid" ] || runuser -u postgres -- "$postgres/pg_ctl" -D "$work/pg" -m immediate stop >/dev/null || true
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

mkdir "$work/pg" "$work/pgsocket" && chown postgres "$work/pg" "$work/pgsocket"
(cd / && runuser -u postgres -- "$postgres/initdb" -D "$work/pg" --auth=trust -N >"$work/pg.log")
(cd / && runuser -u postgres -- "$postgres/pg_ctl" -D "$work/pg" -w -l "$work/pg/log" -o "-c listen_addresses='' -c fsync=off -k $work/pgsocket" start >>"$work/pg.log")

for _ in $(seq 150); do
	docker -H "unix://$work/docker.sock" version >/dev/null 2>&1 && break
	kill -0 "$engine" 2>/dev/null || { echo "test: dockerd ended:"; tail -20 "$work/dockerd.log"; exit 1; }
	sleep 0.2
done
export DOCKER_HOST=unix://$work/docker.sock HITOKU_E2E_BRIDGE=$net.1
export HITOKU_TEST_POSTGRES="postgres://postgres@/postgres?host=$work/pgsocket"
echo "test: Docker Engine $(docker version --format '{{.Server.Version}}'), $("$postgres/postgres" --version)"
"$@"
