package eventlog

import (
	"testing"
)

// guest is the start of dstack's guest.
func (w *world) guest(list *[]jsonEvent, version int) {
	w.runtime(list, "system-preparing", nil, version)
	w.runtime(list, "app-id", []byte{0xaa}, version)
	w.runtime(list, "compose-hash", []byte{0xbb}, version)
	w.runtime(list, "key-provider", []byte(`{"name":"kms"}`), version)
	w.runtime(list, "system-ready", nil, version)
}

func (w *world) dstackFacts(list []jsonEvent) (map[string]string, error) {
	l, err := Parse(w.json(list))
	if err != nil {
		return nil, err
	}
	return l.Facts(w.rtmrs())
}

func TestDstack(t *testing.T) {
	t.Parallel()
	for version := 1; version <= 2; version++ {
		var list []jsonEvent
		w := newWorld(t, SHA384)
		w.guest(&list, version)
		w.runtime(&list, "app-id", []byte{0xee}, version) // an application's own event
		for _, stripped := range []bool{false, true} {
			if stripped { // the agent leaves digests out that can be made
				for i := range list {
					list[i].Digest = ""
				}
			}
			facts, err := w.dstackFacts(list)
			if err != nil || facts["dstack_app_id"] != "aa" || facts["dstack_compose_hash"] != "bb" || facts["dstack_key_provider"] != `{"name":"kms"}` {
				t.Errorf("version %d: %v %v", version, facts, err)
			}
		}
	}
}

// TestDstackFactsCannotBeMadeUp are logs that replay and were edited, and guests
// whose application extends RTMR3 to look like another.
func TestDstackFactsCannotBeMadeUp(t *testing.T) {
	t.Parallel()
	evil := SHA384.sum([]byte("x"))
	for name, measure := range map[string]func(w *world, list *[]jsonEvent){
		"payload changed": func(w *world, list *[]jsonEvent) {
			w.guest(list, 1)
			(*list)[1].Payload = "cc"
		},
		"name changed": func(w *world, list *[]jsonEvent) {
			w.guest(list, 1)
			(*list)[2].Event = "app-id"
		},
		"start hidden, a second start made up": func(w *world, list *[]jsonEvent) {
			w.opaque(list, evil, 1, "boot", nil, 1)
			w.guest(list, 1)
		},
		"start hidden under a runtime type": func(w *world, list *[]jsonEvent) {
			w.opaque(list, evil, evDstackRuntime, "system-preparing", nil, 1)
			w.guest(list, 1)
		},
		"twice": func(w *world, list *[]jsonEvent) {
			w.runtime(list, "system-preparing", nil, 1)
			w.runtime(list, "app-id", []byte{1}, 1)
			w.runtime(list, "app-id", []byte{2}, 1)
			w.runtime(list, "system-ready", nil, 1)
		},
		"never ready": func(w *world, list *[]jsonEvent) {
			w.runtime(list, "system-preparing", nil, 1)
			w.runtime(list, "app-id", []byte{1}, 1)
		},
		"another beginning": func(w *world, list *[]jsonEvent) {
			w.runtime(list, "app-id", []byte{1}, 1)
			w.runtime(list, "system-ready", nil, 1)
		},
		"version exchanged": func(w *world, list *[]jsonEvent) {
			w.guest(list, 1)
			for i := range *list {
				(*list)[i].Version = 2
			}
		},
	} {
		var list []jsonEvent
		w := newWorld(t, SHA384)
		measure(w, &list)
		facts, err := w.dstackFacts(list)
		if err == nil && facts["dstack_app_id"] != "" {
			t.Errorf("%s: %v", name, facts)
		}
	}
	// Version 1 joins its parts with colons: two events of different names must not share a digest.
	var list []jsonEvent
	w := newWorld(t, SHA384)
	w.runtime(&list, "app-id", []byte("x:y"), 1)
	list[0].Event, list[0].Payload = "app-id:x", "79"
	if l, err := Parse(w.json(list)); err == nil {
		for e := range l.Events() {
			if e.Covered(SHA384) {
				t.Error("an ambiguous name is covered")
			}
		}
	}
}

func TestCanonicalString(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\"\\\n\x01": `"a\"\\\n\u0001"`, "<&>": `"<&>"`, "\u2028": "\"\u2028\"", `\u2028`: `"\\u2028"`, "\b\f": `"\b\f"`, "測": `"測"`, "\x7f": "\"\x7f\"",
	} {
		if got, err := canonicalString(in); err != nil || got != want {
			t.Errorf("%q: %s, wanted %s", in, got, want)
		}
	}
}
