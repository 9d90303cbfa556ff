package guest

import (
	"io"
	"os"
	"sync"

	"hitoku.dev/measure/workload"
)

// logCopy stands between the program's output and the container's, and keeps a
// copy in a file. Once the file cannot be written, only the copy ends.
type logCopy struct {
	log    *Log
	file   *os.File
	stdio  [3]*os.File
	theirs []*os.File
	group  sync.WaitGroup

	mu     sync.Mutex
	failed bool
}

// copyOutput replaces standard output and error by pipes.
func copyOutput(log *Log, root string, x *workload.Exec, name string, stdio [3]*os.File) (*logCopy, error) {
	file, err := openLog(root, x, name)
	if err != nil {
		return nil, err
	}
	c := &logCopy{log: log, file: file, stdio: stdio}
	for _, i := range []int{1, 2} {
		ours, theirs, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		out := stdio[i]
		c.stdio[i] = theirs
		c.theirs = append(c.theirs, theirs)
		c.group.Go(func() {
			defer ours.Close()
			io.Copy(io.MultiWriter(out, c), ours) // ends when the program has closed its side
		})
	}
	return c, nil
}

// Write appends to the file; it never fails, so that the output itself goes on.
func (c *logCopy) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed {
		return len(p), nil
	}
	if _, err := c.file.Write(p); err != nil {
		c.failed = true
		c.log.Printf("log file %s: %v; the copy of the output ends here", c.file.Name(), err)
	}
	return len(p), nil
}

// started closes the program's ends of the pipes in this process.
func (c *logCopy) started() {
	for _, f := range c.theirs {
		f.Close()
	}
}

func (c *logCopy) finish() {
	waitBriefly(&c.group)
	c.file.Close()
}
