package guest

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// privileges are user and effective capabilities of this process.
type privileges struct {
	uid          int
	capabilities uint64
}

// capabilityNeed says why the guest cannot work without a capability (ruling 2).
type capabilityNeed struct {
	bit  uint
	name string
	why  string
}

func ownPrivileges(proc string) (privileges, error) {
	f, err := os.Open(filepath.Join(proc, "self/status"))
	if err != nil {
		return privileges{}, fmt.Errorf("read own capabilities: %w (is /proc mounted?)", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return privileges{os.Geteuid(), bits}, err
		}
	}
	return privileges{}, fmt.Errorf("read own capabilities: /proc/self/status has no CapEff line")
}

// checkUser refuses a guest that the operator has started as somebody else.
func (p privileges) checkUser() error {
	if p.uid == 0 {
		return nil
	}
	return &RefusedError{Refusals: []Refusal{{
		Rule: "user", Path: workload.GuestPath, Wanted: "to be started as user 0", Seen: "user " + strconv.Itoa(p.uid),
		Advice: "start without --user, without runAsNonRoot and runAsUser: the program itself runs as the measured user of the image",
	}}}
}

// checkAlone refuses a process namespace that was not made for this container,
// or in which somebody else runs already: a process that was there before could
// trace the guest from its first instruction, before it makes itself untraceable,
// also when it is a child of what executed the guest.
func checkAlone(pid int, proc string) error {
	seen := ""
	if pid != 1 {
		seen = "PID " + strconv.Itoa(pid)
	} else {
		entries, err := os.ReadDir(proc)
		if err != nil {
			return fmt.Errorf("processes of the container: %w", err)
		}
		for _, e := range entries {
			if other, err := strconv.Atoi(e.Name()); err == nil && other != pid {
				seen = "process " + e.Name() + " beside it"
			}
		}
	}
	if seen == "" {
		return nil
	}
	return &RefusedError{Refusals: []Refusal{{
		Rule: "alone", Path: workload.GuestPath, Wanted: "to be the first and only process (PID 1) of the container", Seen: seen,
		Advice: "start without --init, --pid and shareProcessNamespace, and with no other entrypoint: this program reaps ended processes itself",
	}}}
}

// checkCapabilities refuses a container that lacks what the work needs.
func (p privileges) checkCapabilities(x *workload.Exec) error {
	needs := []capabilityNeed{}
	if p.capabilities&(1<<unix.CAP_DAC_READ_SEARCH) == 0 {
		needs = append(needs, capabilityNeed{unix.CAP_DAC_OVERRIDE, "DAC_OVERRIDE", "to read files of other users"})
	}
	if x.UID != 0 {
		needs = append(needs,
			capabilityNeed{unix.CAP_SETUID, "SETUID", "to become the measured user"},
			capabilityNeed{unix.CAP_CHOWN, "CHOWN", "to give the program its key and its output"},
			capabilityNeed{unix.CAP_KILL, "KILL", "to pass signals on"})
	}
	if x.UID != 0 || x.GID != 0 || len(x.Groups) > 0 {
		needs = append(needs, capabilityNeed{unix.CAP_SETGID, "SETGID", "to become the measured group"})
	}
	var refused refusals
	for _, n := range needs {
		if p.capabilities&(1<<n.bit) == 0 {
			refused.add(Refusal{
				Rule: "capability", Path: workload.GuestPath, Wanted: "CAP_" + n.name + " " + n.why, Seen: "not granted",
				Advice: "start the container with --cap-add " + n.name,
			})
		}
	}
	return refused.err()
}

// risky returns a warning where the simulation's promise ends (security decision S13).
func (p privileges) risky() string {
	if p.capabilities&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return "the container has CAP_SYS_ADMIN: the simulated TEE does not hold such containers"
	}
	return ""
}
