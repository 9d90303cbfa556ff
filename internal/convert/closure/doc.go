// Package closure finds which files of an image a program needs, without running it.
//
//	Sniffer   takes a file's content while its layer streams by, and keeps what it
//	          says about other files: libraries, interpreter, imports, paths
//	Select    starts at the program that the image would start and follows these
//	          facts through the image's tree: libraries as the dynamic loader finds
//	          them, scripts as the shell reads them, modules as Python, Node.js and
//	          Java find them, and the files that the C library opens by itself
//
// Invariants. The same tree and request give the same selection, in the same order.
// Links are followed as inside a container: absolute targets begin at the image's
// root, and ".." stops there. Each link that a successful look-up went through is
// reported. Sniffers take bounded memory whatever the file holds, and no bytes make
// them panic. Where a choice cannot be made for certain, more is taken, not less.
//
// Trust. Names, links and contents come from the image and may be hostile: they can
// make the selection larger or smaller, and nothing else. The selection decides which
// files a program may open, not what they contain: hashes do that.
//
// Not promised: that a program opens nothing else. Names that it computes while it runs
// cannot be seen; notices say where, and which option helps. An application's own folder
// (the working folder and the folder of the entry script, but not the system's) is taken
// whole, up to MaxFolder files.
package closure
