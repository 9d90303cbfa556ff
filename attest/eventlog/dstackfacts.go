package eventlog

import (
	"encoding/hex"
	"strings"
)

// dstackNames are the events that dstack's guest extends into RTMR3 before any
// application runs, each once, with the fact that its payload becomes.
func dstackNames() map[string]string {
	return map[string]string{
		"app-id": "dstack_app_id", "compose-hash": "dstack_compose_hash", "instance-id": "dstack_instance_id",
		"os-image-hash": "dstack_os_image_hash", "key-provider": "dstack_key_provider", "storage-fs": "dstack_storage_fs",
	}
}

// dstack reads RTMR3 from its first event to the guest's "system-ready". What
// applications extend later has no say. An event that is not covered, or a name
// that comes twice, could hide the true one: then there is no fact at all.
func (m *Match) dstack(out map[string]string) {
	if m.log.Kind != Dstack {
		return
	}
	events, names := m.of(4), dstackNames()
	found, seen := make(map[string]string), make(map[string]bool)
	for i := range events {
		e := &events[i]
		switch {
		case i == 0 && e.Name != "system-preparing", e.Type != evDstackRuntime, !e.Covered(m.registers.Alg), seen[e.Name]:
			return
		case e.Name == "system-ready":
			for k, v := range found {
				out[k] = v
			}
			return
		}
		seen[e.Name] = true
		if fact := names[e.Name]; fact != "" {
			found[fact] = payloadText(e)
		}
	}
}

// payloadText shows identifiers in hexadecimal and texts as they are.
func payloadText(e *Event) string {
	if strings.HasPrefix(e.Name, "key-") || strings.HasPrefix(e.Name, "storage-") {
		if s := string(e.Data); printable(s) {
			return s
		}
	}
	return hex.EncodeToString(e.Data)
}
