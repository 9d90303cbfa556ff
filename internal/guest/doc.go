// Package guest is the first program inside the TEE: PID 1 of a converted
// container. It proves that the container holds exactly the image that was
// measured, obtains certificates for keys that it made itself, and starts the
// program.
//
// Order, which is the safety argument: empty environment → measured manifest →
// every file of it and nothing else → devices and mounts → keys and
// certificates → every file again, by change time → start.
//
// Invariants: nothing the host says (environment, arguments, mounts, the node
// agent's replies) has an effect that the manifest does not allow. No private
// key leaves memory file systems. No program starts under a certificate before
// every check has passed. Refusals name path, wanted and seen, all at once.
//
// Trusted: the kernel, the simulated TEE behind the socket, and the account
// root whose hash is in the manifest. The node agent, the engine, the registry
// and the network are not.
//
// Not promised: in the simulation host root can change files, memory and page
// cache of a running container, and the files in writable folders at any time;
// hashing sees what the kernel answers, once at the start and, where a change
// time moved, again before the program starts. HEALTHCHECK and `docker exec`
// run outside of this program. The contents of /etc/hosts, /etc/resolv.conf,
// /etc/hostname, of mounts at writable folders, and everything under /proc, /sys
// and /dev come from the host. Plain ports that the program opens stay
// reachable beside the TLS front.
package guest
