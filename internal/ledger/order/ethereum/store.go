package ethereum

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Store remembers transactions that may still be mined, by their nonces. It holds nothing secret. Put
// returns when the bytes are durable.
type Store interface {
	Load() (map[uint64][]byte, error)
	Put(nonce uint64, b []byte) error
	Remove(nonce uint64) error
}

const (
	storeSuffix  = ".tx.json"
	maxStored    = 16 << 20 // bytes of one
	maxPending   = 512      // transactions
	storeVersion = 1
)

// FolderStore is a Store of one file for each transaction in a folder, which it makes.
type FolderStore string

// Load reads all files.
func (s FolderStore) Load() (map[uint64][]byte, error) {
	if err := os.MkdirAll(string(s), 0o700); err != nil {
		return nil, fmt.Errorf("ethereum: remembered transactions: %w", err)
	}
	list, err := os.ReadDir(string(s))
	if err != nil {
		return nil, fmt.Errorf("ethereum: remembered transactions: %w", err)
	}
	found := map[uint64][]byte{}
	for _, e := range list {
		digits, ok := strings.CutSuffix(e.Name(), storeSuffix)
		nonce, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil {
			continue
		}
		if len(found) == 4*maxPending {
			return nil, fmt.Errorf("ethereum: more than %d remembered transactions in %s", len(found), s)
		}
		info, err := e.Info()
		if err == nil && info.Size() > maxStored {
			err = fmt.Errorf("%d bytes, at most %d wanted", info.Size(), maxStored)
		}
		if err == nil {
			found[nonce], err = os.ReadFile(s.path(nonce))
		}
		if err != nil {
			return nil, fmt.Errorf("ethereum: remembered transaction %s: %w", e.Name(), err)
		}
	}
	return found, nil
}

func (s FolderStore) path(nonce uint64) string {
	return filepath.Join(string(s), strconv.FormatUint(nonce, 10)+storeSuffix)
}

// Put writes a file beside the old one and puts it in its place.
func (s FolderStore) Put(nonce uint64, b []byte) error {
	path := s.path(nonce)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(b)
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("ethereum: remember transaction %d: %w", nonce, errors.Join(err, removeIfThere(path+".new")))
	}
	return nil
}

// Remove forgets a transaction, also one that is not there.
func (s FolderStore) Remove(nonce uint64) error { return removeIfThere(s.path(nonce)) }

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// stored is a transaction as it is remembered.
type stored struct {
	Version  int    `json:"version"`
	ChainID  uint64 `json:"chain_id"`
	Account  string `json:"account"`
	To       string `json:"to"`
	Nonce    uint64 `json:"nonce"`
	Legacy   bool   `json:"legacy"`
	Tip      uint64 `json:"tip"`
	Max      uint64 `json:"max"`
	Gas      uint64 `json:"gas"`
	Replaced int    `json:"replaced"`
	Priced   int64  `json:"priced"` // seconds since 1970
	Record   string `json:"record"` // its SHA-256, empty where there is none
	Data     string `json:"data"`
}

func (p *pending) marshal(account Address) []byte {
	s := stored{
		Version: storeVersion, ChainID: p.tx.chainID, Account: account.String(), To: p.tx.to.String(), Nonce: p.tx.nonce, Legacy: p.tx.legacy,
		Tip: p.tx.tip, Max: p.tx.max, Gas: p.tx.gas, Replaced: p.replaced, Priced: p.priced.Unix(), Data: hexBytes(p.tx.data),
	}
	if p.filler {
		s.Record = ""
	} else {
		s.Record = hexBytes(p.record[:])
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic("ethereum: a transaction does not marshal: " + err.Error())
	}
	return b
}

// parsePending reads a remembered transaction of an account on a chain.
func parsePending(b []byte, nonce, chainID uint64, account Address) (*pending, error) {
	var s stored
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("ethereum: remembered transaction %d: %w", nonce, err)
	}
	if s.Version != storeVersion || s.Nonce != nonce || s.ChainID != chainID || s.Account != account.String() {
		return nil, fmt.Errorf("ethereum: remembered transaction %d is of chain %d and account %s, %d and %s wanted; each account on each chain needs a folder of its own",
			nonce, s.ChainID, s.Account, chainID, account)
	}
	to, err := ParseAddress(s.To)
	if err != nil {
		return nil, err
	}
	data, err := parseHex(s.Data, -1)
	if err != nil {
		return nil, fmt.Errorf("ethereum: remembered transaction %d, its data: %w", nonce, err)
	}
	p := &pending{
		tx:       transaction{chainID: chainID, nonce: nonce, legacy: s.Legacy, tip: s.Tip, max: s.Max, gas: s.Gas, to: &to, data: data},
		replaced: min(max(s.Replaced, 0), 1000), priced: time.Unix(s.Priced, 0), filler: s.Record == "",
	}
	if !p.filler {
		sum, err := parseHex(s.Record, 32)
		if err != nil {
			return nil, fmt.Errorf("ethereum: remembered transaction %d, its record's hash: %w", nonce, err)
		}
		p.record = [32]byte(sum)
	}
	return p, nil
}
