package ethereum

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// AskChainID returns the chain id that an endpoint names.
func AskChainID(ctx context.Context, client *http.Client, url string) (uint64, error) {
	e := &endpoint{url: url, client: client, timeout: 30 * time.Second}
	id, err := e.number(ctx, "eth_chainId")
	if err == nil && id == 0 {
		err = fmt.Errorf("ethereum: endpoint %s names chain 0", url)
	}
	return id, err
}
