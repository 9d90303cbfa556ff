package disk

// Epoch is placeholder until keys lands.
type Epoch struct {
	Number                          uint64
	Log, Digest, Snap, Random, Init [32]byte
}

// Recorder sees seals.
type Recorder func(key, nonce, aad, plaintext []byte)
