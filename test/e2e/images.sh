#!/usr/bin/env bash
# Makes the root file systems of the test images with Debian's packages, as tar files in a cache folder.
# usage: images.sh CACHE-DIR NAME…      names: flask nginx postgres node java scripts busybox
set -euo pipefail
cache=$1; shift
mkdir -p "$cache/debs"
suite=bookworm
mirror=${HITOKU_TEST_MIRROR:-http://deb.debian.org/debian}

make_root() { # NAME PACKAGES [COMMAND in the root]
	local name=$1 packages=$2 command=${3:-true} root log
	root=$(mktemp -d "$cache/$name.XXXXXX"); log=$cache/$name.log
	echo "images: making $name with debootstrap ($packages); log in $log"
	if ! debootstrap --variant=minbase --cache-dir="$cache/debs" --include="$packages" "$suite" "$root" "$mirror" >"$log" 2>&1; then
		tail -20 "$log"; rm -rf "$root"; return 1
	fi
	chroot "$root" sh -c "$command" >>"$log" 2>&1
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
	tar --one-file-system --numeric-owner --xattrs -C "$root" -cf "$cache/$name.tar.part" .
	mv "$cache/$name.tar.part" "$cache/$name.tar"
	rm -rf "$root"
}

for name; do
	[ -s "$cache/$name.tar" ] && continue
	case $name in
	flask) make_root flask python3-flask ;;
	nginx) make_root nginx nginx-light ;;
	postgres) make_root postgres postgresql,postgresql-client ;;
	node) make_root node nodejs ;;
	java) make_root java default-jre-headless ;;
	scripts) make_root scripts redis-server,redis-tools,ruby,php-cli,perl ;;
	busybox)
		root=$(mktemp -d "$cache/busybox.XXXXXX")
		(cd "$root" && apt-get download -q busybox-static >/dev/null && dpkg-deb -x busybox-static_*.deb . && rm -f ./*.deb && rm -rf usr)
		mkdir -p "$root"/{etc,tmp,dev,proc,sys,usr/bin,www}
		chmod 1777 "$root/tmp"
		for a in sh httpd cat sleep ls id env echo wget; do ln -s /bin/busybox "$root/bin/$a"; done
		printf 'root:x:0:0:root:/:/bin/sh\nweb:x:1000:1000::/www:/bin/sh\n' >"$root/etc/passwd"
		printf 'root:x:0:\nweb:x:1000:\n' >"$root/etc/group"
		tar --numeric-owner --owner 0 --group 0 -C "$root" -cf "$cache/busybox.tar.part" .
		mv "$cache/busybox.tar.part" "$cache/busybox.tar"; rm -rf "$root" ;;
	*) echo "images: no image is called $name"; exit 2 ;;
	esac
done
