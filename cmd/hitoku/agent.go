package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/enclave/simtee"
	"hitoku.dev/internal/agent"
	"hitoku.dev/internal/sgxhost"
	"hitoku.dev/internal/wire"
)

type agentOptions struct {
	joinToken     string
	joinTokenFile string
	manager       string
	dataDir       string
	listen        []string
	teeDir        string
	cdiDir        string
	name          string
	description   string
	userNamespace string
	jsonLog       bool
}

func newAgentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Enrol this machine with a manager and serve its confidential workloads",
		Long: `Enrol this machine as a compute node, keep the enrolment alive, forward the
certificate requests of workloads to the manager, and serve the simulated TEE to them.

The first start needs --manager and a join token (see "hitoku node token"). Later
starts find what they need in the data folder. Run it as root in the host's PID
namespace to serve Docker and Podman; as another user it serves the containers of
"hitoku run --engine builtin" that the same user starts.

Environment, where a flag is not given: HITOKU_MANAGER, HITOKU_JOIN_TOKEN,
HITOKU_JOIN_TOKEN_FILE, HITOKU_AGENT_DATA_DIR, HITOKU_TEE_DIR, HITOKU_NODE_NAME.

Containers reach the agent at the address of the container bridge:
  docker run -v /run/hitoku/tee:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://172.17.0.1:9092 IMAGE
"hitoku run IMAGE" does the same.`,
		Example: `  hitoku agent --manager https://manager.example:8443 --join-token-file token.txt
  hitoku agent status`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.manager, "manager", os.Getenv("HITOKU_MANAGER"), "`URL` of the manager, https://HOST:PORT")
	f.StringVar(&o.joinToken, "join-token", "", "join `token`; others on this machine can see it in the process list, --join-token-file hides it")
	f.StringVar(&o.joinTokenFile, "join-token-file", os.Getenv("HITOKU_JOIN_TOKEN_FILE"), "`file` with the join token")
	f.StringVar(&o.dataDir, "data-dir", envOr("HITOKU_AGENT_DATA_DIR", agentDataDir()), "`folder` for the node's key, certificate and platform state")
	f.StringArrayVar(&o.listen, "listen", nil, "`address` to serve workloads on, may be repeated (default 127.0.0.1:9092 and port 9092 of the container bridges)")
	f.StringVar(&o.teeDir, "tee-dir", envOr("HITOKU_TEE_DIR", defaultTEEDir()), "`folder` for the socket of the simulated TEE; containers mount it at /run/hitoku/tee")
	f.StringVar(&o.cdiDir, "cdi-dir", "", "write a CDI specification to this `folder`, so that --device hitoku.dev/tee=all mounts the socket, and --device hitoku.dev/tee=sgx gives SGX where the machine has it (/etc/cdi or /var/run/cdi)")
	f.StringVar(&o.name, "name", os.Getenv("HITOKU_NODE_NAME"), "`name` of the node (default: the host name)")
	f.StringVar(&o.description, "description", "", "`text` shown with the node")
	f.StringVar(&o.userNamespace, "containers", "auto", "where containers run: `own` user namespace of the agent (Docker), `child` (rootless engines, userns-remap), or auto: own for root, child otherwise")
	f.BoolVar(&o.jsonLog, "json", false, "log JSON lines")
	cmd.AddCommand(newAgentStatusCommand(), newAgentPlatformCommand())
	return cmd
}

func runAgent(cmd *cobra.Command, o *agentOptions) error {
	if err := needsLinux("the node agent", false); err != nil {
		return err
	}
	token, err := o.token()
	if err != nil {
		return err
	}
	namespaces := map[string]simtee.UserNamespace{"auto": simtee.UserNamespaceAuto, "own": simtee.UserNamespaceOwn, "child": simtee.UserNamespaceChild}
	namespace, ok := namespaces[o.userNamespace]
	if !ok {
		return usageError{fmt.Errorf("agent: --containers %q: wanted auto, own or child", o.userNamespace)}
	}
	var handler slog.Handler = slog.NewTextHandler(cmd.ErrOrStderr(), nil)
	if o.jsonLog {
		handler = slog.NewJSONHandler(cmd.ErrOrStderr(), nil)
	}
	log := slog.New(handler)
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	teeDir, err := filepath.Abs(o.teeDir)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	platform, err := simtee.LoadOrCreatePlatform(filepath.Join(o.dataDir, "platform.json"))
	if err != nil {
		return err
	}
	options := agent.Options{
		Manager: o.manager, JoinToken: token, DataDir: o.dataDir, Listen: o.listen, TEEDir: teeDir,
		Name: o.name, Description: o.description, CDIDir: o.cdiDir, Version: version(),
		Platform: platform, TEE: simtee.NewServer(platform, simtee.ServerOptions{Log: log, UserNamespace: namespace}),
		Log: log, Now: time.Now, Rand: rand.Reader, Host: sgxhost.Detect("/"),
	}
	if len(options.Listen) == 0 {
		options.Listen = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(agent.DefaultPort))}
		options.Bridges = agent.DefaultBridges()
	}
	a, err := agent.New(options)
	if err != nil {
		return err
	}
	collectLess()
	return a.Run(cmd.Context())
}

// token finds the join token; none is fine for a node that is enrolled.
func (o *agentOptions) token() (string, error) {
	switch {
	case o.joinToken != "":
		return o.joinToken, nil
	case o.joinTokenFile != "":
		raw, err := os.ReadFile(o.joinTokenFile)
		if err != nil {
			return "", fmt.Errorf("agent: join token: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	}
	return os.Getenv("HITOKU_JOIN_TOKEN"), nil
}

func newAgentStatusCommand() *cobra.Command {
	var o output
	url := "http://127.0.0.1:" + strconv.Itoa(agent.DefaultPort)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the node agent on this machine does and what it waits for",
		Long:  "Ask the node agent on this machine. Exits 0 when the node is enrolled and the manager answers, else 1.",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := fetchAgentStatus(cmd, url)
			if err != nil {
				return err
			}
			if err := o.print(cmd, s, func(w io.Writer) { printAgentStatus(w, s) }); err != nil {
				return err
			}
			if s.State != agent.StateRunning {
				return exitError{1}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&url, "url", url, "`address` of the agent on loopback")
	o.flag(cmd)
	return cmd
}

func fetchAgentStatus(cmd *cobra.Command, base string) (*agent.Status, error) {
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, strings.TrimRight(base, "/")+"/v1/status", nil)
	if err != nil {
		return nil, usageError{fmt.Errorf("agent status: --url %q: %w", base, err)}
	}
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("agent status: no node agent answers at %s: %w; start one with `hitoku agent`", base, errors.Unwrap(err))
	}
	defer res.Body.Close()
	dec := json.NewDecoder(io.LimitReader(res.Body, 4<<20))
	if res.StatusCode != http.StatusOK {
		var e wire.Error
		if dec.Decode(&e) != nil || e.Message == "" {
			e.Message = "something that is no node agent answers"
		}
		return nil, fmt.Errorf("agent status: %s: %s (HTTP %d)", base, e.Message, res.StatusCode)
	}
	var s agent.Status
	if err := dec.Decode(&s); err != nil || s.PlatformID == "" {
		return nil, fmt.Errorf("agent status: what answers at %s is no node agent", base)
	}
	return &s, nil
}

func printAgentStatus(w io.Writer, s *agent.Status) {
	when := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return day(t.Unix())
	}
	fmt.Fprintf(w, "state\t%s\n", s.State)
	if s.WaitingFor != "" {
		fmt.Fprintf(w, "waits for\t%s\n", s.WaitingFor)
	}
	fmt.Fprintf(w, "node\t%s (%s)\nplatform\t%s\naccount\t%s\nzone\t%s\nmanager\t%s, last answer %s\ncertificate\tuntil %s\nlistens on\t%s\nTEE socket\t%s\nversion\t%s\n",
		or(s.NodeID), or(s.Name), s.PlatformID, or(s.AccountID), or(s.ZoneID), or(s.Manager), when(s.ManagerSeen),
		when(s.CertificateExpires), list(s.Listen), or(s.TEESocket), or(s.Version))
	for _, text := range s.Warnings {
		fmt.Fprintf(w, "warning\t%s\n", text)
	}
	if s.SGX != nil && s.SGX.SGX { // where the processor has none, nothing is missing
		fmt.Fprintf(w, "SGX\t%s\n", sgxSummary(s.SGX))
	}
	for _, app := range s.Apps {
		fmt.Fprintf(w, "app\t%s: %s, %d request(s), last %s\n", or(app.Subject), app.Status, app.Requests, when(&app.LastSeen))
	}
	for _, r := range s.Refusals {
		fmt.Fprintf(w, "refused\t%s: %s %s, %s\n", or(r.Subject), r.Status, r.Reason, when(&r.Time))
		for _, rule := range r.Rules {
			fmt.Fprintf(w, "\t  %s: wanted %s, seen %s\n", rule.Name, rule.Wanted, rule.Seen)
		}
	}
}

func agentDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/hitoku/agent"
	}
	return filepath.Join(userDataDir(), "agent")
}

func defaultTEEDir() string {
	if os.Geteuid() == 0 {
		return agent.DefaultTEEDir
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "hitoku", "tee")
	}
	return filepath.Join(userDataDir(), "tee")
}

// userDataDir is where a user's own state lies (XDG base directory specification).
func userDataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hitoku")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "hitoku-"+strconv.Itoa(os.Geteuid()))
	}
	return filepath.Join(home, ".local", "share", "hitoku")
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
