package eventlog

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf16"
)

// world is a machine for tests: it measures like firmware does and keeps the log.
type world struct {
	t         testing.TB
	algs      []Alg
	legacy    bool
	log       []byte
	registers map[Alg]map[int][]byte
}

func newWorld(t testing.TB, algs ...Alg) *world {
	w := &world{t: t, algs: algs, registers: make(map[Alg]map[int][]byte)}
	for _, a := range algs {
		w.registers[a] = make(map[int][]byte)
	}
	return w
}

func u16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func sized(b []byte) []byte { return append(u32(uint32(len(b))), b...) }

func wide(s string) (out []byte) {
	for _, c := range utf16.Encode([]rune(s)) {
		out = append(out, u16(c)...)
	}
	return out
}

// header is the log's first event.
func (w *world) header() []byte {
	if w.legacy {
		return nil
	}
	spec := append([]byte(specSignature), 0, 0, 0, 0, 0, 2, 0, 2)
	spec = append(spec, u32(uint32(len(w.algs)))...)
	for _, a := range w.algs {
		spec = append(spec, slices.Concat(u16(uint16(a)), u16(uint16(a.Size())))...)
	}
	spec = append(spec, 0)
	return slices.Concat(u32(0), u32(evNoAction), make([]byte, 20), sized(spec))
}

func (w *world) raw() []byte { return append(w.header(), w.log...) }

// extend measures data into a register and logs it.
func (w *world) extend(register int, kind uint32, data []byte) *world {
	return w.extendAs(register, kind, data, data)
}

// extendAs measures one thing and logs another.
func (w *world) extendAs(register int, kind uint32, measured, logged []byte) *world {
	w.log = append(w.log, slices.Concat(u32(uint32(register)), u32(kind))...)
	if !w.legacy {
		w.log = append(w.log, u32(uint32(len(w.algs)))...)
	}
	for _, a := range w.algs {
		digest := a.sum(measured)
		if !w.legacy {
			w.log = append(w.log, u16(uint16(a))...)
		}
		w.log = append(w.log, digest...)
		old := w.registers[a][register]
		if old == nil {
			old = make([]byte, a.Size())
		}
		w.registers[a][register] = a.sum(slices.Concat(old, digest))
	}
	w.log = append(w.log, sized(logged)...)
	return w
}

// note logs something that is not extended.
func (w *world) note(register int, data []byte) *world {
	w.log = append(w.log, slices.Concat(u32(uint32(register)), u32(evNoAction), u32(uint32(len(w.algs))))...)
	for _, a := range w.algs {
		w.log = append(w.log, slices.Concat(u16(uint16(a)), make([]byte, a.Size()))...)
	}
	w.log = append(w.log, sized(data)...)
	return w
}

const (
	evSeparator   = 4
	evAction      = 0x80000007
	evVariable    = 0x80000001
	evApplication = 0x80000003
	evIPL         = 0x0d
	evTable       = 0x0a
)

func efiVariable(guid, name string, value []byte) []byte {
	return slices.Concat([]byte(guid), u64(uint64(len(name))), u64(uint64(len(value))), wide(name), value)
}

func (w *world) variables(register int, secureBoot byte) *world {
	w.extend(register, evVariable, efiVariable(efiGlobal, "SecureBoot", []byte{secureBoot}))
	w.extend(register, evVariable, efiVariable(efiGlobal, "PK", []byte("platform key")))
	w.extend(register, evVariable, efiVariable(efiGlobal, "KEK", []byte("key exchange key")))
	w.extend(register, evVariable, efiVariable(efiImageSecurity, "db", []byte("allowed")))
	return w.extend(register, evVariable, efiVariable(efiImageSecurity, "dbx", []byte("forbidden")))
}

func (w *world) separator(register int) *world {
	return w.extend(register, evSeparator, make([]byte, 4))
}

const cmdline = "/vmlinuz root=/dev/sda ro"

// boot measures a whole start with GRUB.
func (w *world) boot(secureBoot byte) *world {
	w.extend(0, 8, append(wide("GCE Virtual Firmware v1"), 0, 0))
	w.extend(0, 0x11, append([]byte("GCE NonHostInfo\x00"), 4, 0, 0))
	w.variables(7, secureBoot).separator(7)
	w.extend(4, evAction, []byte(callingApplication))
	for i := range 7 {
		w.separator(i)
	}
	w.extend(5, 0x80000006, []byte("EFI PART and so on"))
	w.extendAs(4, evApplication, []byte("MZ shim"), []byte("path of shim"))
	w.grub("grub_cmd: ", "set timeout=0").grub("grub_cmd: ", "linux "+cmdline).grub("kernel_cmdline: ", cmdline)
	w.extendAs(9, evIPL, []byte("kernel"), []byte("/vmlinuz\x00"))
	w.extend(5, evAction, []byte(exitInvoked))
	return w.extend(5, evAction, []byte(exitSucceeded))
}

func (w *world) grub(label, line string) *world {
	return w.extendAs(8, evIPL, []byte(line), []byte(label+line+"\x00"))
}

func (w *world) parse() *Log {
	w.t.Helper()
	l, err := Parse(w.raw())
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) pcrs(alg Alg) Registers { return Registers{Alg: alg, Values: w.registers[alg]} }

func (w *world) rtmrs() Registers {
	r := Registers{Layout: RTMR, Alg: SHA384, Values: map[int][]byte{0: make([]byte, 48)}}
	for i := 1; i <= 4; i++ {
		if r.Values[i] = w.registers[SHA384][i]; r.Values[i] == nil {
			r.Values[i] = make([]byte, 48)
		}
	}
	return r
}

func (w *world) facts(alg Alg) map[string]string {
	w.t.Helper()
	facts, err := w.parse().Facts(w.pcrs(alg))
	if err != nil {
		w.t.Fatal(err)
	}
	return facts
}

// jsonEvent is one entry of dstack's log.
type jsonEvent struct {
	IMR     int    `json:"imr"`
	Type    uint32 `json:"event_type"`
	Digest  string `json:"digest"`
	Event   string `json:"event"`
	Payload string `json:"event_payload"`
	Version int    `json:"version,omitempty"`
}

// runtime measures an event of dstack's guest into RTMR3.
func (w *world) runtime(list *[]jsonEvent, name string, payload []byte, version int) {
	w.t.Helper()
	e := Event{Name: name, Type: evDstackRuntime, Data: payload, Version: version}
	digest, err := e.dstackDigest()
	if err != nil {
		w.t.Fatal(err)
	}
	w.opaque(list, digest, evDstackRuntime, name, payload, version)
}

func (w *world) opaque(list *[]jsonEvent, digest []byte, kind uint32, name string, payload []byte, version int) {
	old := w.registers[SHA384][4]
	if old == nil {
		old = make([]byte, 48)
	}
	w.registers[SHA384][4] = SHA384.sum(slices.Concat(old, digest))
	*list = append(*list, jsonEvent{IMR: 3, Type: kind, Digest: hex.EncodeToString(digest), Event: name, Payload: hex.EncodeToString(payload), Version: version})
}

func (w *world) json(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// ima makes a list of n files in both forms, and PCR 10 after it.
func ima(t testing.TB, alg Alg, n, violations int, template string) (binaryList, ascii, pcr []byte) {
	pcr = make([]byte, alg.Size())
	for i := range n {
		f := imaFields{digest: []byte("sha256:" + hex.EncodeToString(SHA256.sum([]byte{byte(i)}))), name: []byte("/usr/bin/program " + string(rune('a'+i%26)))}
		if template == imaSig {
			f.signed, f.signature = true, []byte("0302")
		}
		data, err := appendTemplate(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		sum, extended := SHA1.sum(data), alg.sum(data)
		if i < violations {
			sum = make([]byte, 20)
			for j := range extended {
				extended[j] = 0xff
			}
		}
		pcr = alg.sum(slices.Concat(pcr, extended))
		binaryList = append(binaryList, slices.Concat(u32(10), sum, sized([]byte(template)), sized(data))...)
		ascii = append(ascii, "10 "+hex.EncodeToString(sum)+" "+template+" "+string(f.digest)+" "+string(f.name)...)
		if f.signed {
			ascii = append(ascii, " "+string(f.signature)...)
		}
		ascii = append(ascii, '\n')
	}
	return binaryList, ascii, pcr
}
