package disk

import (
	"errors"
	"fmt"
	"io/fs"
)

// Errors of this package; they are wrapped with the file's name and what was seen.
var (
	// ErrNone means that there is no such sealed file.
	ErrNone = errors.New("no sealed file")
	// ErrTampered means that a file is not what was written, or that the key is not its key. The
	// caller goes on as if there were none.
	ErrTampered = errors.New("sealed file does not open: it was changed, or the key is another one")
	// ErrForeign means that a file belongs to another ledger.
	ErrForeign = errors.New("sealed file belongs to another ledger")
	// ErrLimit means that a file holds more than the reader allows.
	ErrLimit = errors.New("sealed file is above the limit")
	// ErrLocked means that another process uses the folder.
	ErrLocked = errors.New("folder is in use by another process: stop that one, or name another folder")
	// ErrFolder means that the folder is missing or is none.
	ErrFolder = errors.New("no such folder: create it with mode 0700, or name another one")
	// ErrPermission means that others may read the folder or a file, or that this process may not.
	ErrPermission = errors.New("wrong permissions: folders must have mode 0700 and files 0600, and belong to this user")
	// ErrFull means that the disk has no room: free some; what was written before stays good.
	ErrFull = errors.New("disk is full: free some room; what was written before stays good")
	// ErrReadOnly means that the file system cannot be written.
	ErrReadOnly = errors.New("file system is read-only: mount it for writing")
	// ErrClosed means that the folder was closed.
	ErrClosed = errors.New("folder of sealed files is closed")
	// ErrNotBegun means that Append, Sync or WriteRing came before Begin.
	ErrNotBegun = errors.New("no generation is open for writing: call Begin first")
	// ErrNoRing means that no ring names the generation that is written, so that it could not be loaded.
	ErrNoRing = errors.New("no ring knows this generation's key: call WriteRing first")
)

// failed names the file and what was done with it, and gives errors of the system their sentinel.
func failed(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	for _, e := range []error{ErrNone, ErrTampered, ErrForeign, ErrLimit, ErrPermission, ErrFull, ErrReadOnly} {
		if errors.Is(err, e) {
			return fmt.Errorf("%s %s: %w", verb, name, err)
		}
	}
	kind := kindOf(err)
	if kind == nil {
		return fmt.Errorf("%s %s: %w", verb, name, err)
	}
	return fmt.Errorf("%s %s: %w (%w)", verb, name, kind, err)
}

func kindOf(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNone
	case isFull(err):
		return ErrFull
	case isReadOnly(err):
		return ErrReadOnly
	case errors.Is(err, fs.ErrPermission):
		return ErrPermission
	}
	return nil
}

func tampered(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTampered, fmt.Sprintf(format, args...))
}
