package guest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
)

// Log writes plain lines prefixed "hitoku: ". What others said (paths, replies
// of the node agent) passes through it, so control characters are replaced:
// one message is one line.
type Log struct {
	mu sync.Mutex
	w  io.Writer
}

// NewLog returns a Log that writes to w, usually standard error.
func NewLog(w io.Writer) *Log { return &Log{w: w} }

// Printf writes one line.
func (l *Log) Printf(format string, args ...any) {
	line := "hitoku: " + oneLine(fmt.Sprintf(format, args...)) + "\n"
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.w, line) // nothing can be done about a log that cannot be written
}

// Error writes err: a list of refusals takes a line each.
func (l *Log) Error(err error) {
	var list interface{ Lines() []string }
	if !errors.As(err, &list) {
		l.Printf("%v", err)
		return
	}
	for _, line := range list.Lines() {
		l.Printf("%s", line)
	}
}

const maxLine = 4096

func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029':
			return '?'
		}
		return r
	}, strings.TrimRight(s, "\n"))
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + " …"
	}
	return s
}
