package guest

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 2001 1 0000000000000000 100 0 0 10 0
   1: 00000000:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2002 1 0000000000000000 100 0 0 10 0
   2: 020011AC:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2003 1 0000000000000000 100 0 0 10 0
   3: 0100007F:1389 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2004 1 0000000000000000 100 0 0 10 0
   4: 0100007F:1388 0100007F:9999 01 00000000:00000000 00:00000000 00000000     7        0 2005 1 0000000000000000 100 0 0 10 0
`

const tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     5        0 3001 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     5        0 3002 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     5        0 3003 1 0000000000000000 100 0 0 10 0
   3: 000080FE0000000000000000FE000000:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     5        0 3004 1 0000000000000000 100 0 0 10 0
`

func TestParseListeners(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		table     string
		reachable []uint64
		other     []uint64
	}{
		{tcpTable, []uint64{2001, 2002}, []uint64{2003}},
		{tcp6Table, []uint64{3001, 3002, 3003}, []uint64{3004}},
	} {
		got, err := parseListeners(strings.NewReader(c.table), 5000)
		must(t, err)
		var reachable, other []uint64
		for _, l := range got {
			if l.reachable() {
				reachable = append(reachable, l.inode)
			} else {
				other = append(other, l.inode)
			}
		}
		if !slices.Equal(reachable, c.reachable) || !slices.Equal(other, c.other) {
			t.Errorf("reachable %v, other %v; wanted %v and %v", reachable, other, c.reachable, c.other)
		}
	}
	if got, err := parseListeners(strings.NewReader(tcpTable), 5000); err != nil || got[0].uid != 1000 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := parseListeners(strings.NewReader(""), 5000); err != nil || got != nil {
		t.Errorf("empty table: %v, %v", got, err)
	}
	for _, line := range []string{"x", "0: 0100007F 0:0 0A 0 0 0 0 0 0 0", "0: ZZ00007F:1388 0:0 0A 0 0 0 0 0 0 0", "0: 0100007F:1388 0:0 0A a b c x 0 1 1", "0: 0100007F:FFFFF 0:0 0A a b c 0 0 1 1", "0: 0100007F:1388 0:0 0A a b c 0 0 x 1"} {
		if got, err := parseListeners(strings.NewReader("header\n"+line+"\n"), 5000); err == nil {
			t.Errorf("%q gives %v", line, got)
		}
	}
}

func FuzzParseListeners(f *testing.F) {
	f.Add(tcpTable)
	f.Add(tcp6Table)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseListeners(strings.NewReader(text), 5000)
		if err != nil {
			return
		}
		for _, l := range got {
			l.reachable()
		}
	})
}

func FuzzParseProcess(f *testing.F) {
	f.Add([]byte("Name:\tx\nUmask:\t0022\nPPid:\t7\nUid:\t1\t2\t3\t4\n"))
	f.Add([]byte("Name:\tx\\nPPid:\t1\nPPid:\t7\nUid:\t1\t2\t3\t4\n"))
	f.Fuzz(func(t *testing.T, data []byte) { parseProcess(1, data) })
}

func TestParseProcess(t *testing.T) {
	t.Parallel()
	p, err := parseProcess(9, []byte("Name:\tPPid:\nPPid:\t7\nUid:\t1\t2\t3\t4\n"))
	if err != nil || p != (process{pid: 9, parent: 7, uids: [4]uint32{1, 2, 3, 4}}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, text := range []string{"", "Name:\tx\nPPid:\t7\n", "Name:\tx\nPPid:\t7 8\nUid:\t1\t2\t3\t4\n", "Name:\tx\nPPid:\tx\nUid:\t1\t2\t3\t4\n", "Name:\tx\nPPid:\t7\nUid:\t1\t2\t3\t-4\n"} {
		if p, err := parseProcess(9, []byte(text)); err == nil {
			t.Errorf("%q gives %+v", text, p)
		}
	}
}

// TestOwnership uses this test process as the program: its parent plays the guest.
func TestOwnership(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	own := &ownership{proc: "/proc", self: os.Getppid(), user: uint32(os.Getuid())}
	first, err := own.check(port)
	if err != nil || len(first.inodes) != 1 || first.exposed {
		t.Fatalf("own listener: %v, %v", first, err)
	}
	if again, err := own.check(port); err != nil || !slices.Equal(again.inodes, first.inodes) {
		t.Errorf("second time: %v, %v", again, err)
	}
	// Seen by a guest that has not started us, the port is squatted.
	other := &ownership{proc: "/proc", self: os.Getpid(), user: uint32(os.Getuid())}
	if inodes, err := other.check(port); err == nil {
		t.Errorf("a stranger's listener is accepted: %v", inodes)
	}
	must(t, l.Close())
	if _, err := own.check(port); err == nil || !strings.Contains(err.Error(), errNotListening.Error()) {
		t.Errorf("closed port: %v", err)
	}
	if !descendant("/proc", os.Getpid(), os.Getppid()) || descendant("/proc", os.Getppid(), os.Getpid()) {
		t.Error("descendants are confused")
	}
}

// TestOwnershipByUser: what a program's user says where its open files are hidden.
func TestOwnershipByUser(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	write(t, proc+"/9/fd", "a file, so that it cannot be listed", 0o644)
	hidden := []process{{pid: 9, uids: [4]uint32{33, 33, 33, 33}}}
	for _, tc := range []struct {
		name      string
		owner     uint32
		processes []process
		says      string
	}{
		{"of the process", 33, hidden, ""},
		{"bound before the program became another user", 5, hidden, ""},
		{"of a stranger", 6, hidden, "belongs to user 6; the program was started as user 5"},
		{"of the start's user, and nobody is left who could hold it", 5, nil, "in none of the program's processes"},
	} {
		err := (&ownership{proc: proc, user: 5}).belongs(listener{uid: tc.owner, inode: 7}, tc.processes)
		if tc.says == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestHostNetwork(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	if hostNetwork(proc) {
		t.Error("an empty proc is taken for the host's network")
	}
	write(t, fmt.Sprintf("%s/sys/net/core/dev_weight", proc), "64", 0o644)
	if !hostNetwork(proc) {
		t.Error("the first network namespace is not recognised")
	}
}
