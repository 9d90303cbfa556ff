// Package wire holds the JSON forms of the manager's REST interface: the
// published fields of its paths under /v1, and beside them the members that are
// ours, marked "extension" (other clients ignore them).
//
// The server (internal/manager/api), the command line's client
// (internal/client) and the node agent (internal/agent) share these types, so
// that the three cannot drift apart. The package has no behaviour; nothing in it
// is trusted before the receiver has checked it.
//
// Times are in seconds since the Unix epoch, ids are UUIDs in lower case,
// digests are lower-case hexadecimal unless a field says otherwise.
package wire

// Error is the body of every reply that is not a success.
type Error struct {
	Message  string `json:"message"`
	Code     string `json:"code"`
	Severity string `json:"severity"`
	// Rules lists what refused a request, when rules did. Extension.
	Rules []Rule `json:"rules,omitempty"`
}

// Rule is attest.Rule on the wire.
type Rule struct {
	Name   string `json:"name"`
	Wanted string `json:"wanted"`
	Seen   string `json:"seen"`
	OK     bool   `json:"ok"`
	Advice string `json:"advice,omitempty"`
}

// Metadata describes a page of a list.
type Metadata struct {
	Page          int `json:"page"`
	Pages         int `json:"pages"`
	Limit         int `json:"limit"`
	TotalCount    int `json:"total_count"`
	FilteredCount int `json:"filtered_count"`
}

// List is the reply to every list call that pages.
type List[T any] struct {
	Metadata *Metadata `json:"metadata,omitempty"`
	Items    []T       `json:"items"`
}

// Version is the reply of GET /v1/sys/version.
type Version struct {
	Version string `json:"version"`
}

// PatchOp is one operation of the RFC 6902 subset (add, remove, replace).
type PatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}
