package imagetest

import (
	"net/http"
	"strconv"
	"strings"
)

// Fault spoils replies to requests whose method equals Method and whose path
// contains Path (empty: any).
type Fault struct {
	Method, Path string
	Times        int // how often; 0 means always

	Status     int    // answer with this status instead
	Code       string // error code in the body of that answer; none if empty
	RetryAfter int    // seconds

	Cut     int64 // break the connection after this many bytes of the body
	Shorten int64 // leave this many bytes away at the end, and say so in Content-Length
	Flip    int64 // flip a bit of byte Flip-1 of the body

	ContentType string // replaces the reply's

	Wait <-chan struct{} // hold the request until it is closed or the client is gone
}

// Inject adds faults; the first one that fits a request is used.
func (r *Registry) Inject(faults ...Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range faults {
		if f.Times == 0 {
			f.Times = -1
		}
		r.faults = append(r.faults, &f)
	}
}

// Heal removes all faults.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
}

func (r *Registry) fault(q *http.Request) *Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		if f.Times != 0 && (f.Method == "" || f.Method == q.Method) && strings.Contains(q.URL.Path, f.Path) {
			f.Times--
			return f
		}
	}
	return nil
}

func (f *Fault) answer(w http.ResponseWriter) {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if f.Code == "" {
		w.WriteHeader(f.Status)
		return
	}
	deny(w, f.Status, f.Code, "injected")
}

// faultyWriter spoils a body as it goes out.
type faultyWriter struct {
	http.ResponseWriter
	fault  *Fault
	status int
	at     int64
	end    int64 // where a shortened body ends
}

func (w *faultyWriter) WriteHeader(status int) {
	w.status = status
	if w.fault != nil && w.fault.ContentType != "" {
		w.Header().Set("Content-Type", w.fault.ContentType)
	}
	if w.fault != nil && w.fault.Shorten > 0 {
		if n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64); err == nil {
			w.end = max(n-w.fault.Shorten, 0)
			w.Header().Set("Content-Length", strconv.FormatInt(w.end, 10))
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	f := w.fault
	if f == nil {
		return w.ResponseWriter.Write(p)
	}
	given := len(p)
	if f.Flip > w.at && f.Flip <= w.at+int64(given) {
		p = append([]byte(nil), p...)
		p[f.Flip-1-w.at] ^= 1
	}
	if f.Shorten > 0 {
		p = p[:max(0, min(int64(len(p)), w.end-w.at))]
	}
	if f.Cut > 0 && w.at+int64(len(p)) > f.Cut {
		w.ResponseWriter.Write(p[:f.Cut-w.at])
		http.NewResponseController(w.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	w.at += int64(given)
	_, err := w.ResponseWriter.Write(p)
	return given, err
}
