// Command adversary plays all parts in the tests of the simulated TEE: the
// honest guest, and the programs that want its evidence for themselves. It obeys
// one command a line on standard input and answers each with one line: "ok …",
// "refused RULE", or "error …".
//
// Tests build it twice, with another value of kind, so that the two builds are
// the same program under two digests: one stands for the genuine guest, one for
// anything else.
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/enclave/simtee/internal/proto"
)

var kind = "plain" // set by the linker

const timeout = 20 * time.Second

type program struct {
	tee  *client.Client
	conn *net.UnixConn // a connection without the client
	last *proto.Reply  // as received on conn
	from *net.UnixListener
}

func main() {
	runtime.LockOSThread() // ptrace belongs to a thread
	if len(os.Args) == 2 && os.Args[1] == "listen-only" {
		helper()
		return
	}
	p := new(program)
	if err := client.Undumpable(); err != nil {
		fmt.Println("error", err)
		return
	}
	for {
		line, err := readLine()
		if err != nil {
			return
		}
		words := strings.Fields(line)
		out, err := p.obey(words[0], words[1:])
		refused := (*client.RefusedError)(nil)
		switch {
		case errors.As(err, &refused):
			fmt.Println("refused", refused.Rule)
		case err != nil:
			fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", " "))
		default:
			fmt.Println(strings.TrimSpace("ok " + out))
		}
	}
}

// readLine reads not a byte more than the line, so that a program executed
// later finds the rest.
func readLine() (string, error) {
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := os.Stdin.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}

// obey performs one command.
func (p *program) obey(command string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	switch command + "/" + strconv.Itoa(len(args)) {
	case "kind/0":
		return kind + " " + strconv.Itoa(os.Getpid()), nil
	case "dial/1": // socket
		var err error
		p.tee, err = client.Dial(ctx, args[0])
		return "", err
	case "measure/2": // manifest and SIGSTRUCT
		manifest, sigstruct, err := readBoth(args[0], args[1])
		if err != nil {
			return "", err
		}
		return "", p.tee.Measure(ctx, manifest, sigstruct)
	case "evidence/1": // purpose
		quote, err := p.tee.Evidence(ctx, binding(args[0]))
		return hex.EncodeToString(quote), err
	case "repeat/1": // evidence so many times
		n, err := strconv.Atoi(args[0])
		for i := 0; i < n && err == nil; i++ {
			_, err = p.tee.Evidence(context.Background(), binding("app"))
		}
		return "", err
	case "seal/2": // m or s, SVN
		svn, err := strconv.ParseUint(args[1], 10, 16)
		if err != nil {
			return "", err
		}
		key, err := p.tee.SealKey(ctx, enclave.SealRequest{BySigner: args[0] == "s", SVN: uint16(svn)})
		return hex.EncodeToString(key), err
	case "close/0":
		return "", p.tee.Close()
	case "challenge/0": // as received last
		return hex.EncodeToString(p.last.Challenge), nil
	case "challenge/1": // as somebody else received it
		b, err := hex.DecodeString(args[0])
		p.last = &proto.Reply{Challenge: b}
		return "", err
	case "dumpable/0":
		return "", unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	case "exec/1": // program; it goes on with the commands
		return "", unix.Exec(args[0], []string{args[0]}, nil)
	case "connect/1", "receive/0", "send/1", "send-measure/3", "send-evidence/1", "send-files/1", "pass/1", "await/1", "take/0", "inherit/0", "hang-up/0":
		return p.raw(command, args)
	case "attach/1", "poke/2", "let-go/1":
		return trace(command, args)
	}
	return "", fmt.Errorf("command %s with %d arguments is not known", command, len(args))
}

func readBoth(manifest, sigstruct string) (m, s []byte, err error) {
	m, err1 := os.ReadFile(manifest)
	s, err2 := os.ReadFile(sigstruct)
	return m, s, errors.Join(err1, err2)
}

func binding(purpose string) *attest.Binding {
	return &attest.Binding{Purpose: attest.Purpose(purpose), Nonce: bytes.Repeat([]byte{7}, attest.NonceSize)}
}

// raw speaks without the client, over a connection that execve(2) and children keep.
func (p *program) raw(command string, args []string) (string, error) {
	switch command {
	case "connect":
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: args[0], Net: "unixpacket"})
		p.conn = c
		return "", err
	case "receive":
		return p.receive()
	case "send":
		b, err := hex.DecodeString(args[0])
		if err != nil {
			return "", err
		}
		return "", proto.Send(p.conn, b, nil)
	case "send-measure": // manifest, SIGSTRUCT, how the manifest is handed over
		return "", p.sendMeasure(args[0], args[1], args[2])
	case "send-evidence":
		der, err := binding(args[0]).MarshalDER()
		if err != nil {
			return "", err
		}
		return "", p.request(&proto.Request{Op: proto.OpEvidence, Binding: der}, nil)
	case "send-files":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return "", err
		}
		fds := make([]int, n)
		_, _, err = p.conn.WriteMsgUnix([]byte("{}"), unix.UnixRights(fds...), nil)
		return "", err
	case "pass": // the connection, to a listener
		return "", pass(p.conn, args[0])
	case "await": // a connection that somebody passes
		var err error
		p.from, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: args[0], Net: "unixpacket"})
		return "", err
	case "take":
		var err error
		p.conn, err = take(p.from)
		return "", err
	case "inherit": // the connection, to a child that only listens
		f, err := p.conn.File()
		if err != nil {
			return "", err
		}
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		cmd := exec.Command(self, "listen-only")
		cmd.ExtraFiles, cmd.Stdout = []*os.File{f}, os.Stdout
		return "", cmd.Start()
	}
	return "", p.conn.Close()
}

func (p *program) receive() (string, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	packet, err := proto.Receive(p.conn, proto.MaxReply)
	if err != nil {
		return "", err
	}
	defer packet.Close()
	if p.last, err = proto.DecodeReply(packet.Data); err != nil {
		return "", err
	}
	if p.last.Refused != nil {
		return "", p.last.Refused
	}
	return hex.EncodeToString(p.last.Evidence), nil
}

func (p *program) request(r *proto.Request, f *os.File) error {
	r.Challenge = make([]byte, proto.ChallengeSize) // a guess, when none was received
	if p.last != nil {
		r.Challenge = p.last.Challenge
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return proto.Send(p.conn, b, f)
}

func (p *program) sendMeasure(manifest, sigstruct, how string) error {
	m, s, err := readBoth(manifest, sigstruct)
	if err != nil {
		return err
	}
	f, err := handOver(manifest, m, how)
	if err != nil {
		return err
	}
	if f != nil {
		defer f.Close()
	}
	return p.request(&proto.Request{Op: proto.OpMeasure, Sigstruct: s}, f)
}

// handOver gives the manifest with all seals, with fewer, as a file, or not at all.
func handOver(path string, manifest []byte, how string) (*os.File, error) {
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	switch how {
	case "sealed":
	case "unsealed":
		seals = 0
	case "growing":
		seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	case "future":
		seals = unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	case "unsealable":
		seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	case "file":
		return os.Open(path)
	case "pipe":
		r, _, err := os.Pipe()
		return r, err
	default:
		return nil, nil
	}
	fd, err := unix.MemfdCreate("m", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "m")
	if _, err := f.Write(manifest); err != nil {
		return nil, err
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	return f, err
}

func pass(c *net.UnixConn, to string) error {
	f, err := c.File()
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: to, Net: "unixpacket"})
	if err != nil {
		return err
	}
	defer out.Close()
	return proto.Send(out, []byte("x"), f)
}

func take(l *net.UnixListener) (*net.UnixConn, error) {
	defer l.Close()
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	packet, err := proto.Receive(c, 1)
	if err != nil {
		return nil, err
	}
	defer packet.Close()
	got, err := net.FileConn(packet.Files[0])
	if err != nil {
		return nil, err
	}
	return got.(*net.UnixConn), nil
}

// helper holds descriptor 3 and says what arrives on it.
func helper() {
	c, err := net.FileConn(os.NewFile(3, "connection"))
	if err != nil {
		fmt.Println("helper error", err)
		return
	}
	p := program{conn: c.(*net.UnixConn)}
	fmt.Println("helper ready")
	for {
		evidence, err := p.receive()
		refused := (*client.RefusedError)(nil)
		switch {
		case errors.As(err, &refused):
			fmt.Println("helper refused", refused.Rule)
		case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
			fmt.Println("helper end")
			return
		case err != nil:
			fmt.Println("helper error", err)
			return
		default:
			fmt.Println("helper got", evidence)
		}
	}
}
