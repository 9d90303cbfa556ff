// Package convert makes a confidential image out of any container image: plan →
// measure → sign → assemble.
//
//	plan      what the image's configuration and the request together ask for
//	measure   every layer read once as a stream, the layers merged as an engine
//	          merges them, the workload manifest written from both
//	sign      a SIGSTRUCT over the manifest's hash
//	assemble  one layer more (guest program, manifest, signature) and a new
//	          configuration that starts the guest
//
// Invariants. The application's layers stay byte for byte what they were.
// Nothing is unpacked to disk, and memory grows with the number of files, not
// with their size. The same image, options, guest program, key and date give the
// same bytes on every machine: no clock, no random number, no map order. What
// cannot be told apart for certain by different container engines (folders that
// a layer implies without listing them) is written into the added layer, so that
// all of them agree.
//
// The merged view is that of overlay file systems (Docker's overlay2,
// containerd's and Podman's overlay): each layer is unpacked by itself, its own
// symbolic links followed, and laid over the ones below.
//
// Trust. Registry, archive and engine may send anything: layers are compared
// with their digests and diff ids, and limits hold before memory is taken. The
// cache folder is trusted as the user's own files are; its entries carry a hash
// against damage, and a folder that others may write is refused. The guest
// program and the signing key come from the caller.
//
// Not promised: that the program works in a closed world (it may write where the
// image has no writable folder), and that the image's content is good. Converting
// protects what the image holds, it does not judge it, and encrypts nothing.
package convert
