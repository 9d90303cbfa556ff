package manager

import (
	"sync"
	"time"
)

const (
	freeAttempts  = 5                // failures before waiting begins
	firstWait     = time.Second      // doubled with each failure more
	longestWait   = 15 * time.Minute // of one failure
	forgetAfter   = 30 * time.Minute // without a failure
	maxRemembered = 100_000          // names; the oldest are forgotten first
)

// limiter slows down guessing. It counts failures by name (an e-mail address, a
// network address) and lives in memory: a restart forgets them.
type limiter struct {
	now func() time.Time

	mu    sync.Mutex
	names map[string]*failures
}

type failures struct {
	count int
	last  time.Time
	until time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, names: map[string]*failures{}}
}

// wait returns how long the caller has to wait before another attempt for these names, and
// otherwise counts the attempt as failed until succeeded takes it back. Counting at once
// leaves no gap for many attempts at one time.
func (l *limiter) wait(names ...string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	var wait time.Duration
	for _, n := range names {
		if f := l.names[n]; f != nil && now.Sub(f.last) < forgetAfter {
			wait = max(wait, f.until.Sub(now))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, n := range names {
		f := l.names[n]
		if f == nil || now.Sub(f.last) >= forgetAfter {
			l.makeRoom(now)
			f = &failures{}
			l.names[n] = f
		}
		f.count, f.last = f.count+1, now
		if over := f.count - freeAttempts; over >= 0 {
			f.until = now.Add(min(firstWait<<min(over, 20), longestWait))
		}
	}
	return 0
}

// succeeded forgets the failures of a name.
func (l *limiter) succeeded(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.names, name)
}

// uncount takes one attempt back and keeps the failures before it: somebody with one good
// password must not win more guesses at others.
func (l *limiter) uncount(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.names[name]; f != nil {
		f.count--
		f.until = time.Time{}
	}
}

func (l *limiter) makeRoom(now time.Time) {
	if len(l.names) < maxRemembered {
		return
	}
	oldest, oldestName := now, ""
	for n, f := range l.names {
		if now.Sub(f.last) >= forgetAfter {
			delete(l.names, n)
		} else if !f.last.After(oldest) {
			oldest, oldestName = f.last, n
		}
	}
	if len(l.names) >= maxRemembered {
		delete(l.names, oldestName)
	}
}
