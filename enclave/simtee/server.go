package simtee

import (
	"crypto/rand"
	"io"
	"log/slog"
	"runtime"
	"time"
)

// ServerOptions configures a server. The zero value is right for a node agent
// that runs as root beside an ordinary container engine.
type ServerOptions struct {
	// Log gets one line for each refusal; nil means none.
	Log *slog.Logger
	// ProcFS is where the proc file system of the server's PID namespace is mounted; "" means /proc.
	ProcFS string
	// UserNamespace says where callers live.
	UserNamespace UserNamespace
	// MaxConnections limits connections at one time; 0 means 1024.
	MaxConnections int
	// MeasureTimeout is how long a connection may take until its program is measured; 0 means 15 s.
	MeasureTimeout time.Duration
	// Rand makes challenges; nil means the system's source.
	Rand io.Reader
}

// Server answers the programs of one machine. Serve may be called once at a time
// for each folder.
type Server struct {
	platform *Platform
	options  ServerOptions
	measured registry
	slots    chan struct{} // one for each connection
	work     chan struct{} // one for each processor: hashing is what costs
}

// NewServer makes a server that lends p to the programs it has measured.
func NewServer(p *Platform, o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ProcFS == "" {
		o.ProcFS = "/proc"
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 1024
	}
	if o.MeasureTimeout <= 0 {
		o.MeasureTimeout = 15 * time.Second
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	o.UserNamespace = o.UserNamespace.resolve()
	return &Server{
		platform: p,
		options:  o,
		slots:    make(chan struct{}, o.MaxConnections),
		work:     make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
	}
}
