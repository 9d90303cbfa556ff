// Package box starts one program in Linux namespaces of its own (mount, PID, IPC,
// UTS, cgroup, network and, without root, user), with the mounts that Docker
// makes. It is the engine of the built-in runner, for development.
//
// Three processes take part. The caller keeps the host's side of everything. A
// helper (stage "net") lives in the new network and user namespaces; it opens
// sockets there on the caller's behalf and passes them out, so that ports are
// published without root, bridges or packet filters. The program (stage "init"
// until it is executed) is process 1 of the container. The helpers are this same
// executable, started again under another name; importing the package is enough.
//
// Isolation: capabilities are Docker's default set without CAP_MKNOD, the same
// paths under /proc and /sys are hidden or read-only, devices in the image are
// dead. There is no seccomp filter, no AppArmor profile and no resource limit: do
// not run programs of strangers with it. The network holds loopback only: what is
// published, and the node agent, are all that can be reached.
//
// When the caller dies, however it dies, the kernel kills the container.
package box
