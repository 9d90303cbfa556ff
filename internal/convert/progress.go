package convert

import (
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image"
)

// The stages of a conversion, in order.
const (
	StageRead     = "read"     // layers are read and hashed
	StageMeasure  = "measure"  // layers are merged and the manifest is written
	StageSign     = "sign"     // the signer works
	StageAssemble = "assemble" // the added layer is made
	StageWrite    = "write"    // the image goes to its place
)

// Event tells how far a conversion is. Done and Total are stored bytes of
// layers, over all layers of the stage; zero where the stage has none.
type Event struct {
	Stage string `json:"stage"`
	Done  int64  `json:"done_bytes"`
	Total int64  `json:"total_bytes"`
}

// progress adds up what several goroutines report.
type progress struct {
	mu     sync.Mutex
	to     func(Event)
	now    Event
	told   int64
	layers map[string]int64 // bytes written so far by object
}

// eventStep is how many bytes go by between two events.
const eventStep = 1 << 20

func newProgress(to func(Event)) *progress { return &progress{to: to, layers: map[string]int64{}} }

// stage begins a stage with total bytes to come.
func (p *progress) stage(name string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now, p.told = Event{Stage: name, Total: total}, 0
	p.tell()
}

func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Done += n
	if p.now.Done-p.told >= eventStep || p.now.Done == p.now.Total {
		p.tell()
	}
}

func (p *progress) tell() {
	p.told = p.now.Done
	if p.to != nil {
		p.to(p.now)
	}
}

func (p *progress) read(_ v1.Hash, n int) { p.add(int64(n)) }

// write takes events of image.Write, which count each object from zero.
func (p *progress) write(e image.Event) {
	if e.Side != image.Push {
		return
	}
	p.mu.Lock()
	more := e.Bytes - p.layers[e.Object]
	p.layers[e.Object] = e.Bytes
	p.mu.Unlock()
	if more > 0 {
		p.add(more)
	}
}
