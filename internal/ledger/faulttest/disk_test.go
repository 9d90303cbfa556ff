package faulttest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"
)

// machine is what of a node outlives its process: the disk, which can be full, lose what it has not
// synced, and fail to sync. It is the node's folder for the process that starts next.
type machine struct {
	mu    sync.Mutex
	rng   *rand.Rand
	fs    *disktest.FS
	fails string // "", "full" or "sync"
	hit   int    // steps that have failed
}

func newMachine(seed uint64) *machine {
	m := &machine{rng: rand.New(rand.NewPCG(seed, 3))}
	m.use(disktest.New())
	return m
}

// use makes a disk the machine's. The lock is held, or nobody else knows the machine yet.
func (m *machine) use(f *disktest.FS) {
	m.fs = f
	f.Fault(m.step)
}

func (m *machine) step(s disktest.Step) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	switch {
	case m.fails == "full" && (s.Op == "write" || s.Op == "create"):
		err = syscall.ENOSPC
	case m.fails == "sync" && (s.Op == "sync" || s.Op == "folder"):
		err = syscall.EIO
	case m.fails == "crash":
		err = disktest.ErrCrashed
	}
	if err != nil && m.fails != "crash" {
		m.hit++
		err = fmt.Errorf("%s %s: %w", s.Op, s.Name, err)
	}
	return err
}

// fail makes the disk fail from here on; an empty word mends it.
func (m *machine) fail(how string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = how
}

// folder is the disk for a process that starts.
func (m *machine) folder() disk.FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fs
}

// crash ends the machine in the middle of whatever it does; kill must end the process, which can do
// nothing with its disk any more. What was not durable survives as s says.
func (m *machine) crash(s disktest.Survival, kill func()) {
	m.mu.Lock()
	before := m.fails
	m.fails = "crash"
	m.mu.Unlock()
	kill()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = before
	m.use(m.fs.Crash(s, m.rng))
}
