#!/usr/bin/env bash
# Installs what the tests need and this machine lacks. Debian and Ubuntu; root or sudo.
set -euo pipefail

declare -A why=(
	[docker.io]="Docker Engine: converted images run as an operator would run them"
	[debootstrap]="makes the Debian images that are converted (no image is pulled)"
	[iptables]="Docker Engine wants it at its start"
	[gcc]="the race detector is built with it"
	[libc6-dev]="the race detector is built with it"
	[iproute2]="makes the bridge of the tests' Docker Engine"
	[curl]="fetches pages as a user would"
	[docker-registry]="a registry of other people's making, with log-in and TLS"
	[postgresql]="the store's statements run on it too"
	[strace]="shows the files that a program opens, for the choice of files"
	[tzdata]="a tree of files that were not written just now"
	[openssl]="signs as an external command would"
	[softhsm2]="a token that holds a signing key"
	[opensc]="signs with a key in a token (pkcs11-tool)"
	[nodejs]="runs the compiler of the contracts, and the client of the ledger in another language"
	[npm]="fetches the compiler of the contracts"
	[swtpm]="a TPM of other people's making: quotes and credential activation are tested on it"
)
declare -A probe=(
	[docker.io]=dockerd [debootstrap]=debootstrap [iptables]=iptables [iproute2]=ip [gcc]=gcc [curl]=curl
	[docker-registry]=docker-registry [libc6-dev]=/usr/include/stdlib.h [postgresql]=/usr/share/doc/postgresql
	[nodejs]=node [npm]=npm [strace]=strace [swtpm]=swtpm [tzdata]=/usr/share/zoneinfo [openssl]=openssl
	[softhsm2]=softhsm2-util [opensc]=pkcs11-tool
)

missing=()
for p in "${!why[@]}"; do
	q=${probe[$p]}
	case $q in
	/*) [ -e "$q" ] || missing+=("$p") ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$q" >/dev/null || missing+=("$p") ;;
	esac
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "The tests need packages that this machine lacks:"
for p in "${missing[@]}"; do printf '  %-12s %s\n' "$p" "${why[$p]}"; done
command -v apt-get >/dev/null || { echo "setup: no apt-get here; install them by hand and run make test again"; exit 1; }
sudo=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "setup: installing needs root; run make test as root or install sudo"; exit 1; }
	sudo=(sudo)
fi
# Services that the packages would start are not wanted: the tests start their own.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
	"${sudo[@]}" chmod 0755 $policy
	made=1
fi
trap '[ -z "$made" ] || "${sudo[@]}" rm -f '"$policy" EXIT
"${sudo[@]}" apt-get update -q
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
