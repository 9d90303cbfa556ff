package guest

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
)

// appServer serves /run/hitoku/enclave.sock for the application: one JSON
// object a line, one reply a line. Package enclave/app is its client.
//
//	→ {"op":"evidence","user":BASE64 of 32 bytes,"nonce":BASE64 of 32 bytes}
//	← {"evidence":BASE64 of the quote,"binding":BASE64 of the DER binding}
//	→ {"op":"report","user":…,"nonce":…,"target_info":BASE64 of 512 bytes}
//	← {"report":BASE64 of 432 bytes,"binding":BASE64 of the DER binding}
//	→ {"op":"verify_report","report":BASE64 of 432 bytes}
//	← {"verified":true}
//	→ {"op":"seal_key","label":BASE64 of 32 bytes}
//	← {"key":BASE64 of 32 bytes}
//	← {"error":"…"}
//
// The purpose is always `app`: nobody obtains evidence or reports for a TLS key or
// a ledger here (security decision S9). Only processes of this container's program are
// answered; the folder may be a volume that others reach.
type appServer struct {
	tee         appTEE
	accountRoot [32]byte // zero when the image was converted without a manager
	hostInput   [32]byte // what the host gave to the program, for sealing keys
	allowed     func(pid int) bool
	log         *Log
}

// appTEE is what the program may use, over bindings of its own purpose.
type appTEE interface {
	prover
	sealer
	enclave.LocalReporter
}

const (
	maxAppRequest = 4 << 10
	maxAppClients = 64
	appCallTime   = 30 * time.Second
	appIdle       = 10 * time.Minute

	opEvidence = "evidence"
	opReport   = "report"
	opVerify   = "verify_report"
	opSealKey  = "seal_key"
)

type appRequest struct {
	Op     string `json:"op"`
	User   []byte `json:"user,omitempty"`
	Nonce  []byte `json:"nonce,omitempty"`
	Target []byte `json:"target_info,omitempty"` // report
	Report []byte `json:"report,omitempty"`      // verify_report
	Label  []byte `json:"label,omitempty"`       // seal_key
}

type appReply struct {
	Evidence []byte `json:"evidence,omitempty"`
	Binding  []byte `json:"binding,omitempty"`
	Report   []byte `json:"report,omitempty"`
	Verified bool   `json:"verified,omitempty"`
	Key      []byte `json:"key,omitempty"`
	Error    string `json:"error,omitempty"`
}

func parseAccountRoot(hexadecimal string) (hash [32]byte, err error) {
	if hexadecimal == "" {
		return hash, nil
	}
	if n, err := hex.Decode(hash[:], []byte(hexadecimal)); err != nil || n != len(hash) {
		return hash, fmt.Errorf("manifest: account root %q is no SHA-256", hexadecimal)
	}
	return hash, nil
}

// listenApp makes the socket; every user of the container may connect.
func listenApp(ctx context.Context, root string) (net.Listener, error) {
	name := filepath.Join(root, appSocket)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serve answers until ctx ends.
func (s *appServer) serve(ctx context.Context, l net.Listener) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	slots := make(chan struct{}, maxAppClients)
	var group sync.WaitGroup
	defer group.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Printf("%s: %v; goes on", appSocket, err)
			if (SystemClock{}).Wait(ctx, acceptPause) != nil {
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close() // too many at once
			continue
		}
		group.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			s.answer(ctx, conn.(*net.UnixConn))
		})
	}
}

func (s *appServer) answer(ctx context.Context, conn *net.UnixConn) {
	pid, err := peer(conn)
	if err != nil || pid == 0 || !s.allowed(pid) {
		s.reply(conn, appReply{Error: "only the measured program is answered here"})
		return
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, maxAppRequest), maxAppRequest)
	for conn.SetDeadline(time.Now().Add(appIdle)) == nil && lines.Scan() {
		call, cancel := context.WithTimeout(ctx, appCallTime)
		reply := s.act(call, lines.Bytes())
		cancel()
		if s.reply(conn, reply) != nil {
			return
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		s.reply(conn, appReply{Error: fmt.Sprintf("request of more than %d bytes", maxAppRequest)})
	}
}

// act answers one request.
func (s *appServer) act(ctx context.Context, line []byte) appReply {
	r, err := parseAppRequest(line)
	if err != nil {
		return appReply{Error: err.Error()}
	}
	var reply appReply
	switch r.Op {
	case opVerify:
		reply.Verified, err = true, s.tee.VerifyReport(ctx, r.Report)
	case opSealKey:
		reply.Key, err = s.sealKey(ctx, r.Label)
	default:
		reply, err = s.prove(ctx, r)
	}
	if err != nil {
		return appReply{Error: err.Error()}
	}
	return reply
}

// prove makes evidence, or a report for another program of the machine.
func (s *appServer) prove(ctx context.Context, r *appRequest) (reply appReply, err error) {
	b, err := s.binding(r)
	if err != nil {
		return reply, err
	}
	if reply.Binding, err = b.MarshalDER(); err != nil {
		return reply, err
	}
	if r.Op == opReport {
		reply.Report, err = s.tee.Report(ctx, r.Target, b)
	} else {
		reply.Evidence, err = s.tee.Evidence(ctx, b)
	}
	return reply, err
}

// parseAppRequest reads a line: one object, and only the members of its operation.
func parseAppRequest(line []byte) (*appRequest, error) {
	var r appRequest
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if d.More() {
		return nil, errors.New("request: more than one object on the line")
	}
	foreign := false
	switch r.Op {
	case opEvidence:
		foreign = r.Target != nil || r.Report != nil || r.Label != nil
	case opReport:
		foreign = r.Report != nil || r.Label != nil
	case opVerify:
		foreign = r.User != nil || r.Nonce != nil || r.Target != nil || r.Label != nil
	case opSealKey:
		foreign = r.User != nil || r.Nonce != nil || r.Target != nil || r.Report != nil
	default:
		return nil, fmt.Errorf("request: op %q, wanted %q, %q, %q or %q", r.Op, opEvidence, opReport, opVerify, opSealKey)
	}
	if foreign {
		return nil, fmt.Errorf("request: a member that does not belong to op %q", r.Op)
	}
	return &r, nil
}

func (s *appServer) binding(r *appRequest) (*attest.Binding, error) {
	b := &attest.Binding{Purpose: attest.PurposeApp, Nonce: r.Nonce, AccountRoot: s.accountRoot}
	if len(r.User) != len(b.Subject) {
		return nil, fmt.Errorf("request: user has %d bytes, wanted %d", len(r.User), len(b.Subject))
	}
	copy(b.Subject[:], r.User)
	return b, b.Check()
}

func (s *appServer) reply(conn net.Conn, r appReply) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(line, '\n'))
	return err
}

// peer returns the process id of the other side as seen in this PID namespace;
// 0 is a process outside of it.
func peer(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return 0, err
	}
	return int(credentials.Pid), nil
}
