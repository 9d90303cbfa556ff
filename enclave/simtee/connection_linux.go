package simtee

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/simtee/internal/proto"
	"hitoku.dev/measure/workload"
)

const sendTimeout = 5 * time.Second

// connection is one caller, from pin to end.
type connection struct {
	server  *Server
	conn    *net.UnixConn
	process *process
	program *program  // as last observed
	caller  *identity // nil until measured
}

// serveConnection answers one caller until it goes away, breaks a rule, or ctx ends.
func (s *Server) serveConnection(ctx context.Context, c *net.UnixConn) {
	conn := &connection{server: s, conn: c}
	err := conn.run(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return // the caller is gone
	}
	conn.refuse(err)
}

func (c *connection) run(ctx context.Context) error {
	select {
	case c.server.slots <- struct{}{}:
		defer func() { <-c.server.slots }()
	default:
		return &RefusedError{
			Rule: "connections", Wanted: fmt.Sprintf("at most %d connections", cap(c.server.slots)), Seen: "one more", Advice: "try again later",
		}
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(c.server.options.MeasureTimeout)); err != nil {
		return err
	}
	p, err := pin(c.conn, c.server.options.ProcFS)
	if err != nil {
		return err
	}
	c.process = p
	err = p.checkUserNamespace(c.server.options.ProcFS, c.server.options.UserNamespace)
	if err == nil {
		err = c.server.measured.claim(p)
	}
	if err != nil {
		p.close()
		return err
	}
	defer c.server.measured.release(p)
	return c.converse(ctx)
}

// converse sends a challenge, takes the request that answers it, and so on.
func (c *connection) converse(ctx context.Context) error {
	reply := &proto.Reply{}
	for {
		// This looks at the caller after the last operation and before the next challenge.
		if err := c.observe(ctx); err != nil {
			return err
		}
		reply.Version, reply.Challenge = proto.Version, make([]byte, proto.ChallengeSize)
		if _, err := io.ReadFull(c.server.options.Rand, reply.Challenge); err != nil {
			return err
		}
		if err := c.send(reply); err != nil {
			return err
		}
		next, err := c.answer(ctx, reply.Challenge)
		if err != nil {
			return err
		}
		reply = next
	}
}

// answer receives one request and acts upon it.
func (c *connection) answer(ctx context.Context, challenge []byte) (*proto.Reply, error) {
	packet, err := proto.Receive(c.conn, proto.MaxRequest)
	if err != nil {
		return nil, receiveError(err)
	}
	defer packet.Close()
	if err := c.checkSender(packet.Credentials); err != nil {
		return nil, err
	}
	request, err := proto.DecodeRequest(packet.Data)
	if err != nil {
		return nil, &RefusedError{Rule: "message", Wanted: "a request of protocol version 1", Seen: err.Error()}
	}
	if subtle.ConstantTimeCompare(request.Challenge, challenge) != 1 {
		return nil, &RefusedError{
			Rule: "challenge", Wanted: "the challenge of the message before", Seen: "another one",
			Advice: "a request was sent before the program was known, or out of turn",
		}
	}
	if err := c.observe(ctx); err != nil {
		return nil, err
	}
	if request.Op == proto.OpMeasure {
		return &proto.Reply{}, c.measure(packet.Files, request.Sigstruct)
	}
	if len(packet.Files) != 0 {
		return nil, &RefusedError{Rule: "message", Wanted: "no file with operation " + request.Op, Seen: fmt.Sprint(len(packet.Files))}
	}
	if c.caller == nil {
		return nil, &RefusedError{
			Rule: "measured", Wanted: "operation measure before " + request.Op, Seen: "a program that was not measured",
		}
	}
	reply, err := c.lend(request)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		c.log(refused)
		return &proto.Reply{Refused: refused}, nil // the caller is genuine: it may ask for something else
	}
	return reply, err
}

func receiveError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &RefusedError{Rule: "measured", Wanted: "a measured program within the time allowed", Seen: "none"}
	case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET):
		return io.EOF
	}
	return &RefusedError{Rule: "message", Wanted: fmt.Sprintf("a packet of at most %d bytes", proto.MaxRequest), Seen: err.Error()}
}

// checkSender compares the credentials that the kernel put on a message with
// the pinned process. Another process that shares the socket fails here.
func (c *connection) checkSender(cred *syscall.Ucred) error {
	p := c.process
	if cred == nil || cred.Pid != p.pid || cred.Uid != p.uid || cred.Gid != p.gid {
		seen := "no credentials"
		if cred != nil {
			seen = fmt.Sprintf("process %d, user %d, group %d", cred.Pid, cred.Uid, cred.Gid)
		}
		return &RefusedError{
			Rule: "caller_credentials", Wanted: fmt.Sprintf("a message of process %d, user %d, group %d, which connected", p.pid, p.uid, p.gid), Seen: seen,
			Advice: "the connection must not be inherited or passed on",
		}
	}
	return p.same() // else the number belongs to a later process
}

// observe looks at the caller; its program must stay the one first seen.
func (c *connection) observe(ctx context.Context) error {
	select {
	case c.server.work <- struct{}{}:
		defer func() { <-c.server.work }()
	case <-ctx.Done():
		return ctx.Err()
	}
	now, err := c.process.observe()
	if err != nil {
		return err
	}
	if before := c.program; before != nil && (before.digest != now.digest || before.inode != now.inode) {
		return &RefusedError{
			Rule: "caller_program", Wanted: "the program that connected, " + before.path + " " + before.digest, Seen: now.path + " " + now.digest,
			Advice: "connect after the last execve(2)",
		}
	}
	c.program = now
	return nil
}

// measure extends the caller's measurement.
func (c *connection) measure(files []*os.File, sigstruct []byte) error {
	if c.caller != nil {
		return &RefusedError{Rule: "measured_once", Wanted: "one measurement for a process", Seen: "a second one"}
	}
	measurement, guest, err := readManifest(files)
	if err != nil {
		return err
	}
	id, err := launch(measurement, guest, c.program.digest, sigstruct)
	if err != nil {
		return err
	}
	c.server.measured.setMeasured(c.process)
	c.caller = &id
	c.server.options.Log.Info("simulated TEE: program measured", "pid", c.process.pid, "program", c.program.path,
		"measurement", fmt.Sprintf("%x", id.measurement), "signer", fmt.Sprintf("%x", id.signer))
	return c.conn.SetReadDeadline(time.Time{}) // a guest keeps its connection for life
}

// readManifest hashes the manifest in the sealed memory file and finds the guest's digest in it.
func readManifest(files []*os.File) (measurement [32]byte, guest string, err error) {
	if len(files) != 1 {
		return measurement, "", &RefusedError{Rule: "manifest_file", Wanted: "one file with operation measure", Seen: fmt.Sprint(len(files))}
	}
	f := files[0]
	const want = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&want != want {
		seen := fmt.Sprintf("seals %#x", seals)
		if err != nil {
			seen = "a file that cannot be sealed"
		}
		return measurement, "", &RefusedError{
			Rule: "manifest_seals", Wanted: fmt.Sprintf("a memory file with seals %#x (write, shrink, grow, seal)", want), Seen: seen,
		}
	}
	info, err := f.Stat()
	if err != nil {
		return measurement, "", err
	}
	if info.Size() > workload.MaxSize {
		return measurement, "", &RefusedError{
			Rule: "manifest_size", Wanted: fmt.Sprintf("at most %d bytes", workload.MaxSize), Seen: fmt.Sprint(info.Size()),
		}
	}
	h, scanner := sha256.New(), new(manifestScanner)
	if _, err := io.CopyBuffer(io.MultiWriter(h, scanner), io.NewSectionReader(f, 0, info.Size()), make([]byte, 256<<10)); err != nil {
		return measurement, "", fmt.Errorf("manifest: %w", err)
	}
	h.Sum(measurement[:0])
	if guest, err = scanner.digest(); err != nil {
		return measurement, "", &RefusedError{Rule: "manifest_format", Wanted: "a canonical workload manifest that names its guest", Seen: err.Error()}
	}
	return measurement, guest, nil
}

// lend performs an operation for a measured program.
func (c *connection) lend(r *proto.Request) (*proto.Reply, error) {
	if r.Op == proto.OpSealKey {
		request := enclave.SealRequest{BySigner: r.Seal.BySigner, SVN: r.Seal.SVN}
		copy(request.KeyID[:], r.Seal.KeyID)
		key, err := c.server.platform.sealKey(*c.caller, request)
		return &proto.Reply{Key: key}, err
	}
	if r.Op == proto.OpVerify {
		_, err := c.server.platform.checkReport(r.Report, targetOf(c.caller.body([attest.ReportDataSize]byte{})))
		return &proto.Reply{}, err
	}
	b, err := attest.ParseBinding(r.Binding)
	if err != nil {
		return nil, &RefusedError{Rule: "binding", Wanted: "a binding in DER", Seen: err.Error()}
	}
	switch b.Purpose {
	case attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp:
	default:
		return nil, &RefusedError{
			Rule: "purpose", Wanted: "app-tls, atls, ledger-member or app", Seen: string(b.Purpose), Advice: "evidence of the node itself is the node agent's to ask for",
		}
	}
	if r.Op == proto.OpReport {
		report, err := c.server.platform.programReport(*c.caller, r.Target, b)
		return &proto.Reply{Report: report}, err
	}
	quote, err := c.server.platform.quote(*c.caller, b)
	if errors.Is(err, ErrNotProvisioned) {
		return nil, &RefusedError{Rule: "provisioned", Wanted: "a platform with a PCK certificate", Seen: "none yet", Advice: "enrol the node first"}
	}
	return &proto.Reply{Evidence: quote}, err
}

func (c *connection) send(r *proto.Reply) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	return proto.Send(c.conn, b, nil)
}

// refuse tells the caller, and the log once, why it is answered no more.
func (c *connection) refuse(err error) {
	refused := (*RefusedError)(nil)
	if !errors.As(err, &refused) {
		c.server.options.Log.Error("simulated TEE failed", "error", err)
		refused = &RefusedError{Rule: "server", Wanted: "a working simulated TEE", Seen: "a failure; see the node agent's log"}
	} else {
		c.log(refused)
	}
	_ = c.send(&proto.Reply{Version: proto.Version, Refused: refused}) // whoever does not listen need not know
}

func (c *connection) log(r *RefusedError) {
	attributes := []any{"rule", r.Rule, "wanted", r.Wanted, "seen", r.Seen}
	if c.process != nil {
		attributes = append(attributes, "pid", c.process.pid, "uid", c.process.uid)
	}
	if c.program != nil {
		attributes = append(attributes, "program", c.program.path)
	}
	c.server.options.Log.Warn("simulated TEE refused", attributes...)
}
