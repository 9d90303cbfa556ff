// Package wallet keeps the keys with which a client of the ledger signs.
//
// A wallet is 16 or 32 random bytes, which a person writes down as 12 or 24 English
// words (BIP-39), and a list of named accounts. Each account's key follows from the
// words and its number i, by SLIP-0010, on the path m/44'/6845547'/i', with the curve
// of its scheme: Ed25519 or P-256. The coin type 6845547 ("htk" in ASCII) is this
// project's own and not registered in SLIP-0044. The same words give the same accounts
// everywhere; names and their order are in the file only.
//
// The file is encrypted with XChaCha20-Poly1305 under a key that Argon2id makes from a
// passphrase. The parameters stand in the file and are held to limits before they are
// used, so that a file from somebody else can neither exhaust the memory nor ask for a
// weak key unnoticed. A file is written whole or not at all, with mode 0600.
//
// It trusts the machine that it runs on, and promises no erasure: keys stay in memory
// until the process ends. Two processes that change one wallet at once keep the change
// of the later one only. With an empty passphrase the file is as secret as its mode.
package wallet
