package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"hitoku.dev/internal/ledger/control"
)

// counted is what requests are counted by.
type counted struct {
	route  string
	status int
}

// counts are the requests served.
type counts struct {
	mu sync.Mutex
	by map[counted]uint64
}

func (c *counts) add(route string, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[counted{route, status}]++
}

// exposition writes Prometheus's text form, version 0.0.4.
type exposition struct{ strings.Builder }

func (e *exposition) metric(name, kind, help string) {
	fmt.Fprintf(e, "# HELP hitoku_ledger_%s %s\n# TYPE hitoku_ledger_%s %s\n", name, help, name, kind)
}

func (e *exposition) value(name, labels string, v float64) {
	fmt.Fprintf(e, "hitoku_ledger_%s%s %v\n", name, labels, v)
}

func (e *exposition) one(name, kind, help string, v float64) {
	e.metric(name, kind, help)
	e.value(name, "", v)
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	st, stats := s.r.Status(), s.r.Stats()
	var members, pending int
	s.r.View(func(c *control.State) { members, pending = len(c.Epoch().Members), len(c.Pending()) })
	running := 0.0
	if st.Running {
		running = 1
	}
	var e exposition
	e.one("running", "gauge", "Whether the node serves requests.", running)
	e.one("position", "gauge", "Last position of the log that was followed.", float64(st.Position))
	e.one("executed_position", "gauge", "Last position that was executed.", float64(st.Executed))
	e.one("committed_position", "gauge", "Position up to which a quorum of executors has signed.", float64(st.Committed))
	e.one("log_time_seconds", "gauge", "Time of the last position, as the log states it.", float64(st.Time))
	e.one("epoch", "gauge", "Epoch in force.", float64(st.Epoch))
	e.one("members", "gauge", "Members of the epoch in force.", float64(members))
	e.one("forked_members", "gauge", "Members that have signed another history than this node's log.", float64(len(st.Forked)))
	e.one("pending_members", "gauge", "Incarnations that wait to be added.", float64(pending))
	e.one("positions_total", "counter", "Positions followed.", float64(stats.Positions))
	e.one("skipped_total", "counter", "Positions without effect.", float64(stats.Skipped))
	e.one("batches_total", "counter", "DATA records executed.", float64(stats.Batches))
	if s.o.DetailedMetrics {
		e.one("commands_total", "counter", "Commands executed.", float64(stats.Commands))
		e.one("queries_total", "counter", "Queries answered.", float64(stats.Queries))
		e.one("queue", "gauge", "Commands that wait for the log.", float64(st.Queue))
		e.one("cells", "gauge", "Cells of the committed state.", float64(st.Cells))
		e.metric("stage_seconds_total", "counter", "Time spent, by stage.")
		for _, stage := range []struct {
			name string
			ns   int64
		}{{"execute", stats.Execute}, {"open", stats.Open}, {"seal", stats.Seal}, {"verify", stats.Verify}} {
			e.value("stage_seconds_total", fmt.Sprintf("{stage=%q}", stage.name), float64(stage.ns)/1e9)
		}
	}
	s.counts.write(&e)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(e.String())) // who has gone learns nothing
}

func (c *counts) write(e *exposition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := make([]counted, 0, len(c.by))
	for k := range c.by {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b counted) int {
		if n := strings.Compare(a.route, b.route); n != 0 {
			return n
		}
		return a.status - b.status
	})
	e.metric("requests_total", "counter", "Requests served, by route and status.")
	for _, k := range keys {
		e.value("requests_total", fmt.Sprintf("{route=%q,status=\"%d\"}", k.route, k.status), float64(c.by[k]))
	}
}
