package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Rate is a token bucket: so many requests a second for long, and Burst at once. A
// PerSecond below zero means no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// maxAddresses is how many callers are told apart. When there are more, full buckets
// are forgotten, which changes nothing, and then all of them.
const maxAddresses = 1 << 16

type bucket struct {
	tokens float64
	at     time.Time
}

// limiter counts the requests of each address.
type limiter struct {
	rate Rate
	now  func() time.Time

	mu      sync.Mutex
	buckets map[netip.Prefix]*bucket
}

func newLimiter(r Rate, now func() time.Time) *limiter {
	return &limiter{rate: r, now: now, buckets: map[netip.Prefix]*bucket{}}
}

// take says whether one more request of an address is within its rate.
func (l *limiter) take(from netip.Prefix) bool {
	if l.rate.PerSecond < 0 {
		return true
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[from]
	if b == nil {
		if len(l.buckets) >= maxAddresses {
			l.forget(now)
		}
		b = &bucket{tokens: float64(l.rate.Burst), at: now}
		l.buckets[from] = b
	}
	b.tokens = l.filled(b, now)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (l *limiter) filled(b *bucket, now time.Time) float64 {
	return min(float64(l.rate.Burst), b.tokens+max(0, now.Sub(b.at).Seconds())*l.rate.PerSecond)
}

func (l *limiter) forget(now time.Time) {
	for k, b := range l.buckets {
		if l.filled(b, now) >= float64(l.rate.Burst) {
			delete(l.buckets, k)
		}
	}
	if len(l.buckets) >= maxAddresses {
		clear(l.buckets)
	}
}

// address is what of a caller's address counts: all of IPv4, the network of IPv6.
func address(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(a, bits).Masked()
}
