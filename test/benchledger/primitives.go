package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// used is the processor time of this process so far, threads and all.
func used() time.Duration { return usage(syscall.RUSAGE_SELF) }

// rusageThread is RUSAGE_THREAD of Linux.
const rusageThread = 1

func usage(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err) // never fails for these
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cost is the processor time of one call, on one thread: the median of nine rounds.
func cost(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
	rounds := func(n int) time.Duration {
		begin := usage(rusageThread)
		for range n {
			f()
		}
		return usage(rusageThread) - begin
	}
	n := 1
	for rounds(n) < 5*time.Millisecond {
		n *= 2
	}
	var all []time.Duration
	for range 9 {
		all = append(all, rounds(n)/time.Duration(n))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// primitive is what the standard library alone takes for things of these sizes.
type primitive struct {
	bytes                     int
	hpke, verify, sign        time.Duration
	hmac, hash, encr, decrypt time.Duration
}

// measure times primitives; those that take bytes, on so many.
func measure(b *bed, size int) primitive {
	p := primitive{bytes: size}
	data := make([]byte, size)
	key := make([]byte, 32)
	sk := newKey(b)
	pk := sk.Public().(ed25519.PublicKey)
	message := make([]byte, 250)
	sig := ed25519.Sign(sk, message)
	kem, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	b.check(err)
	enc, s, err := hpke.NewSender(kem.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), nil)
	b.check(err)
	ct, err := s.Seal(nil, data)
	b.check(err)
	block, err := aes.NewCipher(key)
	b.check(err)
	gcm, err := cipher.NewGCM(block)
	b.check(err)
	nonce := make([]byte, 12)
	out := make([]byte, 0, size+16)
	boxed := gcm.Seal(nil, nonce, data, nil)

	p.hpke = cost(func() {
		r, err := hpke.NewRecipient(enc, kem, hpke.HKDFSHA256(), hpke.AES256GCM(), nil)
		if err == nil {
			_, err = r.Open(nil, ct)
		}
		b.check(err)
	})
	p.verify = cost(func() { ed25519.Verify(pk, message, sig) })
	p.sign = cost(func() { ed25519.Sign(sk, message) })
	p.hmac = cost(func() { m := hmac.New(sha256.New, key); m.Write(data); m.Sum(nil) })
	p.hash = cost(func() { sha256.Sum256(data) })
	p.encr = cost(func() { gcm.Seal(out, nonce, data, nil) })
	p.decrypt = cost(func() { _, _ = gcm.Open(out, nonce, boxed, nil) })
	return p
}

// small are the operations on a few hundred bytes at most.
type small struct{ hash, hmac time.Duration }

func measureSmall() small {
	key, data := make([]byte, 32), make([]byte, 100)
	return small{
		hash: cost(func() { sha256.Sum256(data) }),
		hmac: cost(func() { m := hmac.New(sha256.New, key); m.Write(data); m.Sum(nil) }),
	}
}

func (b *bench) primitives(t *bed) {
	p, s := measure(t, 1024), measureSmall()
	fmt.Printf("\nprimitives of the standard library, processor time of one thread, 1 KiB where bytes matter\n")
	fmt.Printf("  HPKE open %v, Ed25519 verify %v, sign %v, AES-256-GCM seal %v, HMAC %v; of 100 bytes SHA-256 %v, HMAC %v\n",
		p.hpke, p.verify, p.sign, p.encr, p.hmac, s.hash, s.hmac)
	fmt.Printf("  one command in a request of its own, on three nodes: HPKE + 3 verifications + sealed reply = %v (with a fourth verification %v)\n",
		p.hpke+3*p.verify+p.hmac+5*s.hmac+p.encr, p.hpke+4*p.verify+p.hmac+5*s.hmac+p.encr)
}
