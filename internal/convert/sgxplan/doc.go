// Package sgxplan makes the Gramine manifest of an image: which files an enclave may open,
// its mounts, arguments, environment, user, memory and threads, from the image's
// configuration and the user's options.
//
// Invariants: the same input gives the same manifest, bytes and order. Nothing weakens the
// enclave's protection unless the user named it. What the guest or the measurement needs
// cannot be changed by the user's own fragment.
//
// It trusts its caller for the hashes and for the kinds of files. It opens no file and
// promises nothing about what a program does that the image does not show: Report says what
// could be seen.
package sgxplan
