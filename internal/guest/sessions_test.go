package guest

import (
	"context"
	"net"
	"testing"
)

// crowd admits connections and remembers their contexts.
type crowd struct {
	*sessions
	ended []context.Context
	all   []*session
}

func (c *crowd) add(t *testing.T, open bool) *session {
	t.Helper()
	conn, other := net.Pipe()
	t.Cleanup(func() { other.Close() })
	one, ctx := c.admit(t.Context(), conn)
	t.Cleanup(func() { c.leave(one) })
	one.open.Store(open)
	c.all, c.ended = append(c.all, one), append(c.ended, ctx)
	return one
}

// want checks which connections are still there.
func (c *crowd) want(t *testing.T, what string, live ...*session) {
	t.Helper()
	if len(c.live) != len(live) {
		t.Errorf("%s: %d connections, wanted %d", what, len(c.live), len(live))
	}
	for i, one := range c.all {
		_, in := c.live[one]
		want := false
		for _, l := range live {
			want = want || l == one
		}
		if in != want || (c.ended[i].Err() == nil) != want {
			t.Errorf("%s: connection %d is there: %v, wanted %v; context: %v", what, i, in, want, c.ended[i].Err())
		}
	}
}

func TestSessionsMakeRoom(t *testing.T) {
	t.Parallel()
	c := &crowd{sessions: newSessions(8)}
	var open []*session
	for range 6 {
		open = append(open, c.add(t, true))
	}
	shaking := []*session{c.add(t, false), c.add(t, false)}
	open[0].moved()
	six := c.add(t, true) // a quarter in their handshakes is fine
	c.want(t, "the idlest", open[0], open[2], open[3], open[4], open[5], shaking[0], shaking[1], six)
	third := c.add(t, false)
	c.want(t, "the next", open[0], open[3], open[4], open[5], shaking[0], shaking[1], six, third)
	fourth := c.add(t, false) // more than a quarter: the oldest of them
	c.want(t, "a flood", open[0], open[3], open[4], open[5], shaking[1], six, third, fourth)
	c.leave(six)
	c.leave(six)
	last := c.add(t, true)
	c.want(t, "room", open[0], open[3], open[4], open[5], shaking[1], third, fourth, last)
}

func TestSessionsOfHandshakesOnly(t *testing.T) {
	t.Parallel()
	c := &crowd{sessions: newSessions(1)}
	c.add(t, false)
	c.want(t, "one for one", c.add(t, false))
}
