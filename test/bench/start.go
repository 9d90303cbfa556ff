package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const startRounds = 5

// start measures how long a container takes from the command to the program's first line,
// plain and confidential, with the built-in runner.
func (b *bench) start(ctx context.Context) error {
	s, err := b.startStack(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	plain, err := s.startTimes(ctx, s.Registry+"/hello:1")
	if err != nil {
		return fmt.Errorf("plain: %w", err)
	}
	confidential, err := s.startTimes(ctx, s.Registry+"/hello-hitoku:1")
	if err != nil {
		return fmt.Errorf("confidential: %w", err)
	}
	fmt.Printf("\nstart to the program's first line, built-in runner, median of %d\n", startRounds)
	fmt.Printf("  plain %.0f ms, confidential %.0f ms: overhead %.0f ms, ratio %.2f\n", ms(plain), ms(confidential), ms(confidential-plain), confidential.Seconds()/plain.Seconds())
	return nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

func (s *stack) startTimes(ctx context.Context, ref string) (time.Duration, error) {
	var times []time.Duration
	for range startRounds {
		t, err := s.startOnce(ctx, ref)
		if err != nil {
			return 0, err
		}
		times = append(times, t)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

func (s *stack) startOnce(ctx context.Context, ref string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.b.bin, "hitoku"), "run", "--engine", "builtin", "--agent", s.Agent, "--tee-dir", s.TEEDir, "--runner-dir", filepath.Join(s.b.dir, "runner"), ref)
	cmd.Env = append(os.Environ(), "HITOKU_SESSION="+filepath.Join(s.dir, "session.json"))
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	w.Close()
	var said strings.Builder
	var took time.Duration
	lines := bufio.NewScanner(r)
	for took == 0 && lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "listening on") {
			took = time.Since(begin)
		}
	}
	// A plain program as PID 1 takes no notice of SIGTERM; what belongs to the runner dies with it.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if took == 0 {
		return 0, errors.New("the program never listened: " + said.String())
	}
	return took, nil
}
