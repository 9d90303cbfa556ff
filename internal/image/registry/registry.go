// Package registry is a small container registry inside the program: for
// `hitoku demo`, which must not need one from outside, and for tests.
//
// Blobs and manifests lie in a folder and outlive the process. It has the OCI
// referrers API, logs nothing, and knows no users: serve it on the loopback or
// behind something that asks for a password. Blobs are stored by their digest,
// which is verified as they come in. Blobs that no manifest names are never
// removed.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// shutdownTime is how long requests under way may take after the context ended.
const shutdownTime = 2 * time.Second

// Handler is the registry over dir, which is made if need be.
func Handler(dir string) (http.Handler, error) {
	blobs := filepath.Join(dir, "blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, err
	}
	disk := &diskBlobs{dir: blobs}
	m := &manifests{dir: filepath.Join(dir, "manifests"), next: registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(disk),
		registry.WithReferrersSupport(true),
	)}
	if err := m.restore(); err != nil {
		return nil, fmt.Errorf("registry in %s: %w", dir, err)
	}
	return newUploads(filepath.Join(dir, "uploads"), disk, m)
}

// Serve answers on l until ctx ends, and returns nil then.
func Serve(ctx context.Context, l net.Listener, dir string) error {
	h, err := Handler(dir)
	if err != nil {
		l.Close()
		return err
	}
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		err := srv.Shutdown(grace)
		if err != nil {
			err = srv.Close()
		}
		stopped <- err
	})
	err = srv.Serve(l)
	if errors.Is(err, http.ErrServerClosed) && !stop() {
		return <-stopped
	}
	return err
}
