package simtee

import (
	"bytes"
	"strings"
)

// checkText refuses a process whose code in memory is not its program's. It
// reads /proc/PID/smaps (proc_pid_smaps(5)): a page of code that was changed, by
// a debugger that has gone since, is private to the process and counted as
// anonymous. A static program runs no code of any other file. What was changed in
// data is not to be seen.
func checkText(smaps []byte, path string, static bool) error {
	var files []string
	var code string // name of the present mapping, when it holds code
	for line := range bytes.Lines(smaps) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"): // first line of a mapping
			name, permissions := strings.Join(fields[min(5, len(fields)):], " "), fields[1]
			if code = ""; !strings.Contains(permissions, "x") {
				continue
			}
			switch code = name; {
			case name == "[vdso]" || name == "[vsyscall]": // the kernel's
			case strings.Contains(permissions, "w") || !strings.HasPrefix(name, "/"):
				return changedText("executable memory " + permissions + " that is no file's")
			case len(files) == 0 || files[len(files)-1] != name:
				files = append(files, name)
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && code != "" && fields[1] != "0":
			return changedText(fields[1] + " kB of " + code + " changed in memory")
		}
	}
	if static && (len(files) != 1 || files[0] != path) {
		return changedText(path + ", a static program, with the code of " + strings.Join(files, ", "))
	}
	return nil
}

func changedText(seen string) error {
	return &RefusedError{
		Rule: "caller_text", Wanted: "program text in memory as in the file", Seen: seen,
		Advice: "somebody changed the program after it was loaded",
	}
}
