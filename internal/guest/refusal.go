package guest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Refusal is one reason not to start: what was wrong with which object.
type Refusal struct {
	Rule   string // stable identifier in snake case, for example "file_content"
	Path   string // the file, folder, mount or device
	Wanted string
	Seen   string
	Advice string // what a person can do; may be empty
}

func (r Refusal) String() string {
	s := fmt.Sprintf("%s: %s: wanted %s, seen %s", r.Rule, r.Path, r.Wanted, r.Seen)
	if r.Advice != "" {
		s += " (" + r.Advice + ")"
	}
	return s
}

// RefusedError carries every refusal that was collected, at most MaxRefusals,
// sorted by path.
type RefusedError struct {
	Refusals []Refusal
	More     int // refusals beyond those listed
}

// MaxRefusals bounds how many refusals are listed.
const MaxRefusals = 50

func (e *RefusedError) Error() string { return strings.Join(e.Lines(), "; ") }

// Lines returns one line for each refusal.
func (e *RefusedError) Lines() []string {
	lines := make([]string, 0, len(e.Refusals)+1)
	for _, r := range e.Refusals {
		lines = append(lines, "refused: "+r.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("refused: and at least %d more", e.More))
	}
	return lines
}

// refusals collects from many goroutines.
type refusals struct {
	mu   sync.Mutex
	list []Refusal
	more int
}

func (r *refusals) add(x Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == MaxRefusals {
		r.more++
		return
	}
	r.list = append(r.list, x)
}

// full says that looking for more refusals would tell the reader nothing new.
func (r *refusals) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.more > 0
}

func (r *refusals) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == 0 {
		return nil
	}
	slices.SortFunc(r.list, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Rule, b.Rule))
	})
	return &RefusedError{Refusals: r.list, More: r.more}
}
