package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"syscall"
	"testing"
)

func TestTemporary(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{context.Canceled, false},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), false},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},
		{fmt.Errorf("read: %w", syscall.ECONNRESET), true},
		{&url.Error{Op: "Post", URL: "http://registry/v2/", Err: errors.New(closedIdle)}, true},
		{&url.Error{Op: "Post", URL: "http://registry/v2/", Err: errors.New("no such host")}, false},
		{failf(ErrTLS, "read: %w", io.EOF), false},
	} {
		if got := temporary(tc.err); got != tc.want {
			t.Errorf("%v: %v, wanted %v", tc.err, got, tc.want)
		}
	}
}
