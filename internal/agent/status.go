package agent

import (
	"slices"
	"strings"
	"sync"
	"time"

	"hitoku.dev/internal/sgxhost"
	"hitoku.dev/internal/wire"
)

// The states of an agent.
const (
	StateEnrolling   = "ENROLLING"   // no node certificate yet
	StateRunning     = "RUNNING"     // enrolled, and the manager answered last time
	StateUnreachable = "UNREACHABLE" // the manager does not answer
	StateRefused     = "REFUSED"     // the manager does not accept this node
)

// Status is what `hitoku agent status` prints.
type Status struct {
	Version            string     `json:"version"`
	State              string     `json:"state"`
	WaitingFor         string     `json:"waiting_for,omitempty"`
	Name               string     `json:"name"`
	NodeID             string     `json:"node_id,omitempty"`
	AccountID          string     `json:"account_id,omitempty"`
	ZoneID             string     `json:"zone_id,omitempty"`
	PlatformID         string     `json:"platform_id"`
	Manager            string     `json:"manager"`
	ManagerSeen        *time.Time `json:"manager_seen,omitempty"` // last time it answered a status report
	CertificateExpires *time.Time `json:"certificate_expires,omitempty"`
	TEESocket          string     `json:"tee_socket,omitempty"`
	Listen             []string   `json:"listen"`
	Warnings           []string   `json:"warnings,omitempty"`
	// SGX is what was seen of SGX on this machine at the start.
	SGX      *sgxhost.Platform `json:"sgx,omitempty"`
	Apps     []App             `json:"apps"`     // newest first
	Refusals []Refusal         `json:"refusals"` // newest first
}

// App is a workload that asked for a certificate here, by the names it asked for.
// The agent cannot tell whether it still runs.
type App struct {
	Subject  string    `json:"subject"`
	Names    []string  `json:"names"`
	Status   string    `json:"status"` // the last task status
	TaskID   string    `json:"task_id,omitempty"`
	LastSeen time.Time `json:"last_seen"`
	Requests int       `json:"requests"`
}

// Refusal is a certificate request that got none.
type Refusal struct {
	Time    time.Time   `json:"time"`
	Subject string      `json:"subject"`
	Status  string      `json:"status"`
	Reason  string      `json:"reason,omitempty"`
	Rules   []wire.Rule `json:"rules,omitempty"` // those that failed
}

const (
	maxApps     = 64
	maxRefusals = 16
	maxText     = 500
)

// tracker holds the Status of a running agent.
type tracker struct {
	mu sync.Mutex
	s  Status
}

func newTracker(o Options) *tracker {
	return &tracker{s: Status{Version: o.Version, State: StateEnrolling, Name: o.Name, PlatformID: o.Platform.ID(), Manager: o.Manager, SGX: o.Host}}
}

func (t *tracker) update(f func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.s)
}

func (t *tracker) snapshot() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.s
	s.Listen = append([]string{}, s.Listen...)
	s.Warnings = slices.Clone(s.Warnings)
	s.Apps = append([]App{}, s.Apps...)
	s.Refusals = append([]Refusal{}, s.Refusals...)
	return s
}

func (t *tracker) node(n *node) {
	t.update(func(s *Status) {
		s.NodeID, s.AccountID, s.ZoneID = n.NodeID, n.AccountID, n.ZoneID
		if n.hasCertificate() {
			end := n.leaf.NotAfter.UTC()
			s.CertificateExpires, s.State, s.WaitingFor = &end, StateRunning, ""
		}
	})
}

func (t *tracker) teeUp(socket string) { t.update(func(s *Status) { s.TEESocket = socket }) }

func (t *tracker) listening(addr string) {
	t.update(func(s *Status) { s.Listen = append(s.Listen, addr) })
}

func (t *tracker) warn(text string) {
	t.update(func(s *Status) { s.Warnings = append(s.Warnings, text) })
}

func (t *tracker) waiting(what string) { t.update(func(s *Status) { s.WaitingFor = what }) }

func (t *tracker) reported(at time.Time) {
	at = at.UTC()
	t.update(func(s *Status) { s.State, s.WaitingFor, s.ManagerSeen = StateRunning, "", &at })
}

func (t *tracker) unreachable(err error, again time.Duration) {
	t.update(func(s *Status) {
		if s.State == StateRunning {
			s.State = StateUnreachable
		}
		s.WaitingFor = err.Error() + "; next attempt in " + again.Round(100*time.Millisecond).String()
	})
}

func (t *tracker) refusedByManager(err error) {
	t.update(func(s *Status) { s.State, s.WaitingFor = StateRefused, err.Error() })
}

// issued records the outcome of a certificate request.
func (t *tracker) issued(at time.Time, subject string, names []string, r *IssueReply) {
	at = at.UTC()
	subject = clip(subject)
	t.update(func(s *Status) {
		i := slices.IndexFunc(s.Apps, func(a App) bool { return a.Subject == subject && slices.Equal(a.Names, names) })
		app := App{Subject: subject, Names: names}
		if i >= 0 {
			app = s.Apps[i]
			s.Apps = slices.Delete(s.Apps, i, i+1)
		}
		app.Status, app.TaskID, app.LastSeen = r.TaskStatus, r.TaskID, at
		app.Requests++
		s.Apps = slices.Insert(s.Apps, 0, app)
		s.Apps = s.Apps[:min(len(s.Apps), maxApps)]
		if r.Certificate != "" {
			return
		}
		refusal := Refusal{Time: at, Subject: subject, Status: r.TaskStatus, Reason: clip(r.Reason)}
		for _, rule := range r.Rules {
			if !rule.OK && len(refusal.Rules) < 16 {
				rule.Wanted, rule.Seen, rule.Advice = clip(rule.Wanted), clip(rule.Seen), clip(rule.Advice)
				refusal.Rules = append(refusal.Rules, rule)
			}
		}
		s.Refusals = slices.Insert(s.Refusals, 0, refusal)
		s.Refusals = s.Refusals[:min(len(s.Refusals), maxRefusals)]
	})
}

// clip keeps outside text short and printable.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
