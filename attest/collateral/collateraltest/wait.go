package collateraltest

import (
	"context"
	"encoding/pem"
	"math/big"
	"time"
)

// Wait is a pause that takes no time: it moves the world's clock.
func (w *World) Wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
	return nil
}

func (w *World) revokedSerials(issuer string) []*big.Int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*big.Int
	for _, e := range w.revoked[issuer] {
		out = append(out, e.SerialNumber)
	}
	return out
}

func encodeCRL(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}
