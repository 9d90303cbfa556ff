// Package gramine finds the files of the Gramine library OS that an image for SGX needs, in
// an image, an archive or a folder that somebody else made. Hitoku ships none of them.
//
//	Open        reads a source, recognises the version, keeps what is needed
//	LayerFiles  what goes into an image, and where
//
// Invariants. The same source gives the same files, modes, order and digest on every
// machine. Only 1.7, 1.8 and 1.9 are taken, recognised by what the files say; two marks
// that disagree are refused. Gramine's licence texts travel with its files.
//
// Trust. A source may be hostile: names never become paths of this machine, sizes and
// counts are bounded before memory is taken, and links are followed inside the source
// alone. What the files do is not judged: whoever names a source decides which library OS
// protects the program. A digest in the reference pins it: image@sha256:… for an image, or
// #sha256:… after any reference for the files that were taken.
//
// Not promised: that the files are an official release of Gramine. Its loader is measured;
// that a measurement belongs to a trustworthy one is for those who approve it.
package gramine
