// Package rootfs unpacks the layers of a container image into a folder, for the
// built-in runner.
//
// Layers come from outside and are hostile until proven otherwise: every path is
// resolved inside the folder as a container engine would (absolute links are
// absolute there), all access goes through an os.Root, names with ".." are
// refused, and entries and bytes are counted against limits. Layers are applied in
// order; whiteouts and opaque folders are those of the OCI image specification.
//
// What it does not promise: atomicity. A folder whose unpacking failed is to be
// removed. Nobody else may change the folder meanwhile. Device nodes are made
// where the kernel allows it; mount the result without devices.
package rootfs
