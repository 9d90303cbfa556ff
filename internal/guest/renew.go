package guest

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"hitoku.dev/measure/workload"
)

// keeper holds one certificate and renews it at half life with a new key and
// fresh evidence, while the program runs.
type keeper struct {
	number  int // position in the manifest
	want    *workload.Certificate
	obtain  func(ctx context.Context, c *workload.Certificate) (*issued, error)
	store   *keyStore
	clock   Clock
	log     *Log
	renewed func() // called after each renewal

	serial  int // counts the certificates
	current atomic.Pointer[issued]
	tls     atomic.Pointer[tls.Certificate]
}

const (
	// A failed renewal is tried again after a tenth of the time that is left, within these bounds.
	shortestRetry = time.Minute
	longestRetry  = time.Hour
)

// first obtains and stores the certificate that the program starts with.
func (k *keeper) first(ctx context.Context) error {
	return k.replace(ctx)
}

func (k *keeper) replace(ctx context.Context) error {
	got, err := k.obtain(ctx, k.want)
	if err != nil {
		return err
	}
	f, err := got.files()
	if err != nil {
		return err
	}
	if err := k.store.put(k.number, k.serial+1, f); err != nil {
		return err
	}
	k.serial++
	k.current.Store(got)
	k.tls.Store(got.tls())
	leaf := got.chain[0]
	k.log.Printf("certificate for %s: serial %x, ends at %s", k.want.Subject, leaf.SerialNumber, leaf.NotAfter.UTC().Format(time.RFC3339))
	return nil
}

// run renews until ctx ends. A failure keeps the certificate that is there.
func (k *keeper) run(ctx context.Context) {
	wait := k.until()
	for k.clock.Wait(ctx, wait) == nil {
		err := k.replace(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			wait = k.until()
			k.renewed()
			continue
		}
		wait = k.retryAfter()
		k.log.Printf("certificate for %s is not renewed; the old one stays and ends at %s; next try in %v", k.want.Subject, k.current.Load().chain[0].NotAfter.UTC().Format(time.RFC3339), wait.Round(time.Second))
		k.log.Error(err)
	}
}

func (k *keeper) until() time.Duration {
	return max(k.current.Load().halfLife().Sub(k.clock.Now()), shortestRetry)
}

func (k *keeper) retryAfter() time.Duration {
	left := k.current.Load().chain[0].NotAfter.Sub(k.clock.Now())
	return min(max(left/10, shortestRetry), longestRetry)
}

// obtainAll fetches the first certificates at the same time.
func obtainAll(ctx context.Context, keepers []*keeper) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	var once sync.Once
	var first error
	for _, k := range keepers {
		group.Go(func() {
			if err := k.first(ctx); err != nil {
				once.Do(func() { first = err; cancel() })
			}
		})
	}
	group.Wait()
	return first
}
