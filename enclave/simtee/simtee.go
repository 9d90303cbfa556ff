package simtee

import (
	"context"

	"hitoku.dev/enclave/simtee/client"
)

// Where the socket is; see package client.
const (
	SocketName      = client.SocketName
	ContainerDir    = client.ContainerDir
	ContainerSocket = client.ContainerSocket
)

// Client is the program's side of the connection; see package client, which
// guests import instead of this package.
type Client = client.Client

// RefusedError is a refusal: rule, wanted, seen, advice.
type RefusedError = client.RefusedError

// Dial connects to a simulated TEE at a socket path; see [client.Dial].
func Dial(ctx context.Context, socket string) (*Client, error) { return client.Dial(ctx, socket) }
