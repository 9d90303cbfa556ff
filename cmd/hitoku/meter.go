package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"hitoku.dev/internal/convert"
)

// meter shows a conversion's progress: on a terminal one line that changes, else
// one line for each stage. Stages under a second of time show no bar.
type meter struct {
	w        io.Writer
	terminal bool
	start    time.Time // of the conversion
	stage    string
	since    time.Time // of the stage
	last     time.Time // of the last change
	now      convert.Event
	dirty    bool
}

var stageWords = map[string]string{
	convert.StageRead: "reading layers", convert.StageMeasure: "measuring", convert.StageSign: "signing",
	convert.StageAssemble: "assembling", convert.StageWrite: "writing",
}

func newMeter(w io.Writer) *meter {
	f, ok := w.(*os.File)
	return &meter{w: w, terminal: ok && term.IsTerminal(int(f.Fd())), start: time.Now()}
}

func (m *meter) event(e convert.Event) {
	t := time.Now()
	if e.Stage != m.stage {
		m.finishStage(t)
		m.stage, m.since = e.Stage, t
	}
	m.now = e
	if m.terminal && t.Sub(m.last) > 100*time.Millisecond {
		m.last, m.dirty = t, true
		fmt.Fprintf(m.w, "\r\033[K%s", m.line(t))
	}
}

func (m *meter) line(t time.Time) string {
	s := stageWords[m.stage]
	if m.now.Total > 0 {
		const width = 24
		full := int(min(m.now.Done, m.now.Total) * width / m.now.Total)
		s += " ["
		for i := range width {
			if i < full {
				s += "#"
			} else {
				s += "."
			}
		}
		s += fmt.Sprintf("] %s of %s", megabytes(m.now.Done), megabytes(m.now.Total))
	}
	return fmt.Sprintf("%s, %.1f s", s, t.Sub(m.since).Seconds())
}

// finishStage leaves one line of a stage that took a while.
func (m *meter) finishStage(t time.Time) {
	if m.dirty {
		fmt.Fprint(m.w, "\r\033[K")
		m.dirty = false
	}
	if m.stage == "" || t.Sub(m.since) < time.Second {
		return
	}
	bytes := ""
	if m.now.Done > 0 {
		bytes = " " + megabytes(m.now.Done) + ","
	}
	fmt.Fprintf(m.w, "%s:%s %.1f s\n", stageWords[m.stage], bytes, t.Sub(m.since).Seconds())
}

// end is called once, whatever came of the conversion.
func (m *meter) end() { m.finishStage(time.Now()) }
