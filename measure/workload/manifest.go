// Package workload defines the workload manifest: the complete, canonical
// description of a converted image, from the bytes of each file to the
// environment that the host may set. SHA-256 over the manifest's bytes is the
// measurement of the simulated TEE; on SGX the enclave's manifest names these
// bytes, so that MRENCLAVE depends on them.
//
// Invariants: a manifest has exactly one encoding (RFC 8785 JSON, integers
// only); whatever changes what runs changes the bytes. The converter writes it,
// the guest obeys it, the simulated TEE hashes it.
//
// The guest imports this package, so it is part of everybody's trusted base and
// imports little. It reads no file and trusts no caller's input: Decode refuses
// every encoding but the canonical one.
package workload

import "crypto/sha256"

// Schema is the version of the manifest format that this package reads and writes.
const Schema = 1

// Where conversion puts its files in the image.
const (
	Dir           = "/.hitoku"
	GuestPath     = "/.hitoku/init"
	ManifestPath  = "/.hitoku/manifest.json"
	SigstructPath = "/.hitoku/sigstruct"
)

// Manifest is the measured description of a confidential workload. Field order
// is the order of the JSON keys, which RFC 8785 wants sorted.
type Manifest struct {
	// AccountRoot is the SHA-256 of the account root's SubjectPublicKeyInfo in lower-case
	// hexadecimal. Empty means converted with --no-manager: no certificate will be asked for.
	AccountRoot    string        `json:"account_root"`
	CACertificates []CAFile      `json:"ca_certificates"`
	Certificates   []Certificate `json:"certificates"`
	Env            Env           `json:"env"`
	Exec           Exec          `json:"exec"`
	// Files is sorted by path, bytewise; the root folder "/" is the first. Dir and what is
	// below it are not listed: the folder holds the guest, the manifest and the SIGSTRUCT,
	// and nothing else. It is empty on SGX, where the enclave's own manifest lists files.
	Files   []File   `json:"files"`
	Folders []Folder `json:"folders"` // sorted by path; everything else is read-only
	Fronts  []Front  `json:"fronts"`  // TLS fronts, sorted by Listen
	// Guest is the SHA-256 of the guest program at GuestPath, lower-case hexadecimal.
	Guest string `json:"guest"`
	// LogPath, when set, is a file that gets a copy of the program's output.
	LogPath string `json:"log_path"`
	Schema  int    `json:"schema"`
	// SGX is there when, and only when, TEE is "sgx".
	SGX *SGX `json:"sgx,omitempty"`
	// Source is the platform of the image, "linux/amd64".
	Source string `json:"source"`
	TEE    string `json:"tee"` // TEESimulated or TEESGX
}

// Exec says what is started, as whom and how.
type Exec struct {
	// AllowArgs lets the arguments of `docker run IMAGE ARG…` replace the default arguments
	// (Cmd). Without it they are ignored with one log line each.
	AllowArgs bool     `json:"allow_args"`
	Args      []string `json:"args"`       // the image's Cmd, or the converter's override
	Entry     []string `json:"entry"`      // the image's Entrypoint, or the converter's override; Entry+Args is never empty
	GID       uint32   `json:"gid"`        // resolved from the image
	Groups    []uint32 `json:"groups"`     // supplementary groups, sorted, resolved from the image
	Home      string   `json:"home"`       // HOME when the environment does not set it, from the image's passwd
	OnRenew   int      `json:"on_renew"`   // signal number sent to the program after a renewal, 0 for none
	StopGrace int      `json:"stop_grace"` // seconds between the stop signal and SIGKILL, 0 for never
	UID       uint32   `json:"uid"`
	WorkDir   string   `json:"workdir"` // absolute
}

// Env says which environment the program gets. The host's environment enters
// only through Allowed and Mutable.
type Env struct {
	Allowed []string `json:"allowed"` // names passed from the host when it sets them, sorted
	Fixed   []string `json:"fixed"`   // NAME=VALUE, in the image's order; measured, the host cannot change them
	Mutable []string `json:"mutable"` // NAME=VALUE, sorted by name: measured default that the host may replace
}

// File is one entry of the merged root file system. The whole tree is listed;
// what a container engine makes by itself is not (see the guest's list).
type File struct {
	// GID, UID and Mode as the archive has them; Mode holds the permission bits with
	// set-uid (04000), set-gid (02000) and sticky (01000).
	GID uint32 `json:"gid"`
	// Link is the target of a symbolic link, or for a hard link the path of its first name
	// in the manifest (then SHA256 and Size are those of that file).
	Link    string `json:"link,omitempty"`
	LinkB64 string `json:"link_b64,omitempty"` // standard base64, instead of Link where it is not UTF-8
	Mode    uint32 `json:"mode"`
	Path    string `json:"path,omitempty"` // absolute, clean, with "/" as separator
	PathB64 string `json:"path_b64,omitempty"`
	Rdev    uint64 `json:"rdev,omitempty"`   // device number of char and block entries: major<<32 | minor
	SHA256  string `json:"sha256,omitempty"` // of regular files and hard links, lower-case hexadecimal
	Size    int64  `json:"size,omitempty"`
	Type    string `json:"type"` // one of the Type constants
	UID     uint32 `json:"uid"`
	// Xattrs maps those extended attributes that change what a file may do
	// (security.capability) to their value in standard base64.
	Xattrs map[string]string `json:"xattrs,omitempty"`
}

// The types of File. A hard link is listed under its own type so that the guest
// can check that both names are one inode.
const (
	TypeDir      = "dir"
	TypeFile     = "file"
	TypeSymlink  = "symlink"
	TypeHardlink = "hardlink"
	TypeFIFO     = "fifo"
	TypeChar     = "char"
	TypeBlock    = "block"
)

// Folder is a path with another protection than the default, read-only.
type Folder struct {
	Mode string `json:"mode"` // FolderRW or FolderEncrypted
	Path string `json:"path"`
}

const (
	// FolderRW may hold anything: neither checked at the start nor protected afterwards.
	FolderRW = "rw"
	// FolderEncrypted must lie on encrypted storage or in memory; the guest refuses anything else.
	FolderEncrypted = "encrypted"
)

// Front terminates TLS with the first certificate of the manifest on port
// Listen and forwards the plain stream to port Forward on loopback.
type Front struct {
	Forward int `json:"forward"`
	Listen  int `json:"listen"`
}

// Certificate asks for one certificate from the zone CA. The files appear under
// [KeyDir]; at each configured path the image has a symbolic link (listed in
// Files) to [KeyTarget].
type Certificate struct {
	AltNames  []string `json:"alt_names"`  // "DNS:…", sorted
	CertPath  string   `json:"cert_path"`  // absolute; leaf first, then the zone CA
	ChainPath string   `json:"chain_path"` // optional: the zone CA and the account root
	KeyPath   string   `json:"key_path"`
	KeySize   int      `json:"key_size"` // RSA: 2048, 3072 or 4096; EC: 256
	KeyType   string   `json:"key_type"` // "EC" or "RSA"
	Subject   string   `json:"subject"`  // DNS name: becomes the common name and the first DNS name
}

// CAFile is a CA certificate placed into the image by the conversion.
type CAFile struct {
	Path        string `json:"path"`
	Certificate string `json:"certificate"` // PEM
	System      bool   `json:"system"`      // also appended to the distribution's trust store
}

// Measurement returns the SHA-256 of a manifest's bytes, the measurement of the simulated TEE.
func Measurement(manifest []byte) [32]byte { return sha256.Sum256(manifest) }
