package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"hitoku.dev/internal/ledger/wire"
)

// StateRequest is a sealed request for commands, or one in Anonify's form.
type StateRequest struct {
	Request            []byte `json:"request,omitempty" doc:"Request of kind 1 (protocol, section 7)"`
	EphemeralPublicKey string `json:"ephemeral_public_key,omitempty" doc:"Anonify's form: hex, 32 bytes"`
	Nonce              string `json:"nonce,omitempty" doc:"Anonify's form: hex, 24 bytes"`
	Ciphertext         string `json:"ciphertext,omitempty" doc:"Anonify's form: hex"`
	UserID             string `json:"user_id,omitempty" doc:"Anonify's form: hex, 20 bytes; must be the account inside"`
}

// QueryRequest is a sealed request of kind 2.
type QueryRequest struct {
	Request []byte `json:"request" doc:"Request of kind 2 (protocol, section 7)"`
}

// TicketReply stands for a request for commands. What became of it is in the reply, sealed.
type TicketReply struct {
	Ticket string `json:"ticket" doc:"hex, 32 bytes"`
	Ready  bool   `json:"ready"`
	Reply  []byte `json:"reply,omitempty" doc:"sealed Reply, when it is ready"`
}

// QueryReply is the sealed answer to a query.
type QueryReply struct {
	Reply []byte `json:"reply" doc:"Reply (protocol, section 7)"`
}

func (s *Server) clients() {
	const tag = "clients"
	register(s, route{method: "POST", path: "/api/v1/state", tag: tag, summary: "Hand over sealed commands", status: http.StatusAccepted}, s.submit)
	register(s, route{
		method: "GET", path: "/api/v1/tickets/{ticket}", tag: tag, summary: "The sealed reply to commands",
		parameters: []parameter{{"ticket", "path", "hex, 32 bytes"}, {"wait", "query", "seconds to wait until it is ready, 0 to 60"}},
	}, s.ticket)
	for path, summary := range map[string]string{
		"/api/v1/state/query":           "Ask an application",
		"/api/v1/user_counter":          "Ask for an account's last number (what is asked stands inside the seal)",
		"/api/v1/register_notification": "Register for an account's notifications (what is asked stands inside the seal)",
	} {
		register(s, route{method: "POST", path: path, tag: tag, summary: summary}, s.query)
	}
	s.routes = append(s.routes, route{
		method: "GET", path: "/api/v1/notifications/{stream}", tag: tag, summary: "Sealed notifications as server-sent events", media: "text/event-stream",
		parameters: []parameter{{"stream", "path", "hex, 16 bytes, from the sealed answer to the registration"}, {"Last-Event-ID", "header", "id of the last event that was seen"}},
	})
	s.mux.HandleFunc("GET /api/v1/notifications/{stream}", s.notifications)
}

func (s *Server) submit(_ context.Context, _ *call, in *StateRequest) (*TicketReply, error) {
	var id wire.Hash
	var ready bool
	var err error
	box := in.EphemeralPublicKey != "" || in.Nonce != "" || in.Ciphertext != "" || in.UserID != ""
	switch {
	case box == (len(in.Request) > 0):
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "wanted either request, or ephemeral_public_key, nonce and ciphertext")
	case len(in.Request) > MaxRequest:
		return nil, Fail(http.StatusRequestEntityTooLarge, CodeTooLarge, "the request is longer than %d bytes", MaxRequest)
	case box:
		id, ready, err = s.submitBox(in)
	default:
		id, ready, err = s.r.Submit(in.Request)
	}
	if err != nil {
		return nil, err
	}
	return &TicketReply{Ticket: hexOf(id), Ready: ready}, nil
}

// ticket waits, when asked to, until the reply is there.
func (s *Server) ticket(ctx context.Context, c *call, _ *none) (*TicketReply, error) {
	var id wire.Hash
	if raw, err := hex.DecodeString(c.r.PathValue("ticket")); err != nil || len(raw) != len(id) {
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "ticket: wanted 64 hexadecimal digits")
	} else {
		copy(id[:], raw)
	}
	var wait time.Duration
	if text := c.r.URL.Query().Get("wait"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if wait = time.Duration(n) * time.Second; err != nil || wait > maxWait {
			return nil, Fail(http.StatusBadRequest, CodeBadRequest, "wait: wanted 0 to %d seconds", maxWait/time.Second)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		changed := s.r.Changed()
		reply, known := s.r.Ticket(id)
		if !known {
			return nil, Fail(http.StatusNotFound, CodeNotFound, "this node does not hold the ticket; hand the same signed command over again, it is executed once")
		}
		if reply != nil || ctx.Err() != nil {
			return &TicketReply{Ticket: hexOf(id), Ready: reply != nil, Reply: reply}, nil
		}
		if err := s.r.Err(); err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (s *Server) query(ctx context.Context, _ *call, in *QueryRequest) (*QueryReply, error) {
	if len(in.Request) > MaxRequest {
		return nil, Fail(http.StatusRequestEntityTooLarge, CodeTooLarge, "the request is longer than %d bytes", MaxRequest)
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	reply, err := s.r.Query(ctx, in.Request, s.o.Operator.Fresh)
	if err != nil {
		return nil, err
	}
	return &QueryReply{Reply: reply}, nil
}

// notifications streams a registration's sealed notices. The id of an event is its number.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) {
	var id [16]byte
	raw, err := hex.DecodeString(r.PathValue("stream"))
	if err != nil || len(raw) != len(id) {
		WriteError(w, Fail(http.StatusBadRequest, CodeBadRequest, "stream: wanted 32 hexadecimal digits"))
		return
	}
	copy(id[:], raw)
	var from uint64
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		n, err := strconv.ParseUint(last, 10, 63)
		if err != nil {
			WriteError(w, Fail(http.StatusBadRequest, CodeBadRequest, "Last-Event-ID: wanted the id of an event"))
			return
		}
		from = n + 1
	}
	if _, _, known := s.r.Notices(id, from); !known {
		WriteError(w, Fail(http.StatusNotFound, CodeNotFound, "this node does not have the stream (any more); register again"))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	unhurried(w)
	_ = out.SetWriteDeadline(time.Time{}) // not every writer has one
	s.stream(w, out, r.Context(), id, from)
}

func (s *Server) stream(w io.Writer, out *http.ResponseController, ctx context.Context, id [16]byte, from uint64) {
	beat := time.NewTicker(s.o.Heartbeat)
	defer beat.Stop()
	for {
		changed := s.r.Changed()
		notices, next, known := s.r.Notices(id, from)
		for i, n := range notices {
			if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", next-uint64(len(notices))+uint64(i), base64.StdEncoding.EncodeToString(n)); err != nil {
				return
			}
		}
		from = max(from, next)
		if err := out.Flush(); err != nil || !known || s.r.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-beat.C:
			if _, err := io.WriteString(w, ": still here\n\n"); err != nil {
				return
			}
		}
	}
}

func write(w io.Writer, v any) error {
	_ = json.NewEncoder(w).Encode(v) // who has gone learns nothing
	return nil
}
