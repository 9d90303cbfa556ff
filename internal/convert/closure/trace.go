package closure

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxTrace = 1_000_000 // paths

// ParseTrace reads the paths that a program opened or executed: the output of
// strace -f -e trace=file, where failed calls are left out, or one path a line. It keeps
// each path once, in the order of the first time.
func ParseTrace(r io.Reader) ([]string, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 4096), 64<<10)
	seen := map[string]bool{}
	var out []string
	for n := 1; in.Scan(); n++ {
		p := traced(in.Text())
		if p == "" || seen[p] {
			continue
		}
		if len(out) == maxTrace {
			return nil, fmt.Errorf("trace: more than %d paths; record a shorter run", maxTrace)
		}
		seen[p] = true
		out = append(out, p)
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("trace: a line has more than %d bytes; wanted output of strace -f -e trace=file, or one path a line", 64<<10)
	} else if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return out, nil
}

func traced(line string) string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "/") {
		return line
	}
	at := strings.Index(line, "open")
	if e := strings.Index(line, "exec"); at < 0 || e >= 0 && e < at {
		at = e
	}
	from := strings.IndexByte(line, '"')
	if at < 0 || from < at || strings.Contains(line, ") = -1 ") || strings.Contains(line, "O_DIRECTORY") {
		return ""
	}
	text, err := strconv.QuotedPrefix(line[from:])
	if err != nil {
		return ""
	}
	if text, err = strconv.Unquote(text); err != nil {
		return ""
	}
	if !strings.HasPrefix(text, "/") && !strings.Contains(line[:from], "AT_FDCWD") && !strings.Contains(line[:from], "open(") {
		return "" // beside a folder that the line does not name
	}
	return text
}
