package hosttest

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// Tape is what was written down, piece by piece. Many may write to it at once.
type Tape struct {
	mu     sync.Mutex
	pieces []*piece
}

type piece struct {
	name string
	mu   sync.Mutex
	data bytes.Buffer
}

func (p *piece) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.data.Write(b)
}

// Piece begins a new piece, for instance one direction of a connection.
func (t *Tape) Piece(name string) io.Writer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &piece{name: name}
	t.pieces = append(t.pieces, p)
	return p
}

// Len is the number of bytes so far.
func (t *Tape) Len() (n int) {
	t.each(func(_ string, b []byte) { n += len(b) })
	return n
}

func (t *Tape) each(f func(name string, b []byte)) {
	t.mu.Lock()
	pieces := t.pieces
	t.mu.Unlock()
	for _, p := range pieces {
		p.mu.Lock()
		f(p.name, p.data.Bytes())
		p.mu.Unlock()
	}
}

// Serve writes down what goes in and out of a handler: path, headers and bodies, as they are inside TLS.
func (t *Tape) Serve(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := t.Piece(name + ": " + r.Method + " " + r.URL.Path)
		_, _ = io.WriteString(in, r.URL.String()+"\n") // never fails
		_ = r.Header.Write(in)
		r.Body = &taped{r.Body, in}
		out := &recorder{ResponseWriter: w, out: t.Piece(name + ": answer to " + r.Method + " " + r.URL.Path)}
		next.ServeHTTP(out, r)
		_ = w.Header().Write(out.out)
	})
}

type taped struct {
	io.ReadCloser
	tape io.Writer
}

func (t *taped) Read(b []byte) (int, error) {
	n, err := t.ReadCloser.Read(b)
	_, _ = t.tape.Write(b[:n]) // never fails
	return n, err
}

type recorder struct {
	http.ResponseWriter
	out io.Writer
}

func (r *recorder) Write(b []byte) (int, error) {
	_, _ = r.out.Write(b) // never fails
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find deadlines and flushing.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush is for handlers that look for it.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Client writes down what a client sends and gets, as it is inside TLS.
func (t *Tape) Client(name string, next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(q *http.Request) (*http.Response, error) {
		out := t.Piece(name + ": asks " + q.Method + " " + q.URL.Path)
		_, _ = io.WriteString(out, q.URL.String()+"\n") // never fails
		_ = q.Header.Write(out)
		if q.Body != nil {
			q = q.Clone(q.Context())
			q.Body = &taped{q.Body, out}
		}
		res, err := next.RoundTrip(q)
		if err != nil {
			return nil, err
		}
		in := t.Piece(name + ": is answered " + q.Method + " " + q.URL.Path)
		_ = res.Header.Write(in)
		res.Body = &taped{res.Body, in}
		return res, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }
